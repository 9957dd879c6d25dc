//! A change that is looked at, and not made.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::life::Trigger;
use crate::life_tests::{Node, policy};

#[test]
fn what_would_change_is_said_and_nothing_is_changed() {
    let node = Node::new(&policy(&["eth0"], &["poll"]));
    let mut agent = node.started();
    let before = (agent.life().clone(), node.world.borrow().calls.clone(), agent.comparison.clone());
    let look = |agent: &mut crate::life::Agent| {
        let read = agent.source.build(agent.digest_in_force(Trigger::Api).as_deref());
        read.and_then(|read| agent.dry_run(read))
    };
    assert!(look(&mut agent).unwrap().comparison.policy.is_empty());
    node.write(&policy(&["eth0"], &["poll", "write"]));
    let seen = look(&mut agent).unwrap();
    let names: Vec<&str> = seen.comparison.policy.iter().map(|change| change.name.as_str()).collect();
    assert_eq!(names, ["plc/write"]);
    assert!(look(&mut agent).is_ok(), "as often as one likes");
    node.write("apiVersion: gabion.dev/v1alpha1\nkind: Sight\n");
    assert_eq!(look(&mut agent).unwrap_err().blame, "input");
    assert_eq!((agent.life().clone(), node.world.borrow().calls.clone(), agent.comparison.clone()), before);
    // An adopted generation is compared, too.
    drop(agent);
    node.write(&policy(&["eth0"], &["poll"]));
    let mut agent = node.agent();
    agent.pin(Some(String::from("harvest"))).unwrap();
    agent.start().unwrap();
    node.write(&policy(&["eth0"], &["write"]));
    assert_eq!(look(&mut agent).unwrap().comparison.policy.len(), 2);
}
