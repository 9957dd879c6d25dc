//! What the object says of its views, against the views themselves.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use gabion_testing_views::object;
use gabion_testing_views_programs::Task;
use gabion_view::KernelView as _;
use gabion_view::described::described;

#[test]
fn an_object_describes_its_views() {
    let Ok(object) = object() else {
        eprintln!("skipped: no programs");
        return;
    };
    let said = described(&object).unwrap();
    let [task] = said.as_slice() else { panic!("{said:?}") };
    assert_eq!((task.name, task.of, task.fields.as_slice()), (Task::VIEW.name, Task::VIEW.of, Task::VIEW.fields));
}

/// An object whose placeholders nothing describes is not taken for one without views.
#[test]
fn an_object_that_does_not_describe_its_views_is_refused() {
    let Ok(mut object) = object() else { return };
    // The name of the section, in its types as well.
    for at in 0..object.len() - 15 {
        if object[at..].starts_with(b".gabion.fields\0") {
            object[at + 1] = b'x';
        }
    }
    assert!(described(&object).unwrap_err().to_string().contains(".gabion.views"));
}
