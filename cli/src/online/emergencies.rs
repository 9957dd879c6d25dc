//! Deny lists that are in force, as people read them.

use gabion_agent::api::wire::Emergency;

use crate::output::columns;

/// A table of them; nothing when there are none.
pub(super) fn table(emergencies: &[Emergency]) -> String {
    if emergencies.is_empty() {
        return String::new();
    }
    let mut rows = vec![["EMERGENCY", "VERSION", "DENIALS", "SINCE", "UNTIL", "BY"].map(str::to_owned).to_vec()];
    rows.extend(emergencies.iter().map(|it| {
        let until = if it.in_force { it.until.clone() } else { format!("{} (NOT IN FORCE)", it.until) };
        vec![
            it.name.clone(),
            it.version.to_string(),
            it.denials.to_string(),
            it.since.clone(),
            until,
            it.vouched.clone(),
        ]
    }));
    format!("\n{}", columns(&rows))
}
