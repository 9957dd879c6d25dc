//! A node that takes its policy from signed bundles alone: what it judges them by, and how far back it goes.

use gabion_life::Number;
use gabion_trust::{Role, Trust};

use super::{Agent, Problem, Trigger, problem};
use crate::record::{Bundled, bundled};
use crate::sealed::Seal;

impl Agent {
    /// From now on policy comes in bundles, judged by what is trusted. Another root than before begins trust anew.
    ///
    /// # Errors
    /// The root is none.
    pub fn seal(&mut self, seal: Seal) -> Result<(), Problem> {
        let root = seal.root();
        if self.trust.0.is_none() || self.trust.1 != root {
            if !self.trust.1.is_empty() {
                tracing::warn!("trust begins anew, by another root than before");
            }
            self.trust = (Some(seal.begin()?), root);
        }
        self.seal = Some(seal);
        Ok(())
    }

    /// What bundles are judged by. What is in force says of which name they are, unless somebody did.
    ///
    /// # Errors
    /// This node takes files.
    pub fn judgement(&mut self) -> Result<(Seal, Trust), Problem> {
        let message = "this agent takes its policy from files (--policy); with --trust-root it takes bundles";
        let unsealed = || problem("not-sealed", "input", String::from(message));
        let (seal, trust) = self.seal.clone().zip(self.trust.0.clone()).ok_or_else(unsealed)?;
        let in_force = self.life.wanted().all.and_then(|number| self.bundled(number));
        Ok((seal.or_bundle(in_force.map(|bundle| bundle.name)), trust))
    }

    /// The bundle that a generation came in.
    fn bundled(&mut self, number: Number) -> Option<Bundled> {
        if let Some(made_of) = self.kept.get(&number).and_then(|kept| kept.unsaved.as_ref()) {
            return made_of.bundle.clone();
        }
        bundled(&mut self.store, number).unwrap_or_else(|error| {
            tracing::warn!("{error}");
            None
        })
    }

    /// Whether somebody here may put what was committed before into force again: on a sealed node nobody goes below
    /// what it accepted without a grant, and this is none. (A node that goes back by itself, to what it had when it was
    /// well, needs none.)
    pub(super) fn may_go_back_to(&mut self, number: Number) -> Result<(), Problem> {
        if self.seal.is_none() {
            return Ok(());
        }
        let (seal, trust) = self.judgement()?;
        let refused = |code, why| problem(code, "refused", format!("generation {number}: {why}"));
        let Some(bundle) = self.bundled(number) else {
            let why = String::from("it was made of files, and this node takes signed bundles");
            return Err(refused("sealed", why));
        };
        let Bundled { name, version, .. } = &bundle;
        if let Some(wanted) = seal.bundle().filter(|wanted| *wanted != name) {
            return Err(refused(
                "bundle-stranger",
                format!("it came in bundle {bundle}, and this node takes {wanted}"),
            ));
        }
        match trust.floor(Role::Policy, name).filter(|floor| version < floor) {
            None => Ok(()),
            Some(floor) => Err(refused(
                "bundle-rolled-back",
                format!(
                    "it came in bundle {bundle}, and this node has accepted version {floor}; going back takes a grant: \
                     `gabion bundle sign --grant-floor {version}`, then `gabion generation apply`"
                ),
            )),
        }
    }

    /// A sealed node goes on with what was committed; without that it waits for a bundle.
    pub(super) fn start_sealed(&mut self) -> Result<(), Problem> {
        if self.current().is_none()
            && !self.life.history.is_empty()
            && let Err(problem) = self.restore()
        {
            self.last_apply = Some(self.refused(Trigger::Start, problem));
        }
        self.remember_policy();
        if self.current().is_none() {
            tracing::error!("nothing is in force: `gabion generation apply BUNDLE` puts the first bundle into force");
        }
        Ok(())
    }
}
