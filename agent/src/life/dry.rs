//! What a change would change here, without making it.

use std::sync::Arc;
use std::time::Instant;

use gabion_policy_model::text::diff::diff;
use gabion_policy_probes::Comparison;
use serde::Serialize;

use super::{Agent, Built, Kept, Problem, Read, Source, problem};
use crate::emergency::Lists;
use crate::kernel::Tried;
use crate::record::Record;

/// What came of it.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DryRun {
    /// What the policies say differently, and what that means for packets of late.
    #[serde(flatten)]
    pub comparison: Comparison,
    /// Golden packets that would get another verdict, so that it would be refused.
    pub missed: Vec<String>,
    /// Why nothing was tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub untried: Option<String>,
    /// What to tell.
    pub alarms: Vec<String>,
}

impl Agent {
    /// Tries what was read as a change of it would be tried; nothing is changed, and nothing is remembered.
    ///
    /// # Errors
    /// It would be refused.
    pub fn dry_run(&mut self, read: Read) -> Result<DryRun, Problem> {
        let (built, alarms) = match read {
            Read::InForce(_) => return Ok(DryRun::default()),
            Read::Built(built) => {
                let alarms = built.bundle.as_ref().map_or_else(Vec::new, |bundle| bundle.alarms.clone());
                (self.with_lists_of_now(*built)?, alarms)
            }
            Read::Emergency(brought) => {
                let mut lists = Lists::clone(&self.source.lists);
                let emergency = brought.emergency;
                if emergency.denials == 0 {
                    lists.remove(&emergency.name);
                } else {
                    lists.insert(emergency.name.clone(), emergency);
                }
                let (made_of, digest) = self.in_force_again()?;
                let source = Source { lists: Arc::new(lists), ..self.source.clone() };
                (source.build_from(made_of, digest, Instant::now())?, brought.alarms)
            }
        };
        let Built { made_of, loaded, bundle, .. } = built;
        let site = loaded.set.site.clone().unwrap_or_default();
        let record = Record { limits: self.limits_of(&site)?, ..Record::default() };
        let object = made_of.object.as_deref().map(Arc::from);
        let (set, compiled) = (Some(loaded.set), Some(Arc::new(loaded.compiled)));
        let new = Kept { record, set, compiled, object, ..Kept::default() };
        let golden = bundle.map(|bundle| bundle.golden).unwrap_or_default();
        let unknown = || problem("change", "ours", String::from("what was built just now is not known"));
        let tried = self.compared(&new, &golden)?.ok_or_else(unknown)?;
        let Tried { missed, mut comparison, untried } = tried;
        if let (Some(old), Some(new)) = (self.current().and_then(|current| current.set.as_ref()), &new.set) {
            // Also where there were no packets to compare programs on.
            comparison.policy = diff(old, new);
        }
        Ok(DryRun { comparison, missed, untried, alarms })
    }
}
