//! The policy of a bundle, compiled and held to its golden packets: at the building of it as at the judging.

use std::collections::BTreeMap;

use gabion_abi::boundary::OBJECT;
use gabion_agent::sealed;
use gabion_bundle::{Bundle, Digest, Name, Use};
use gabion_contracts::embedded;
use gabion_policy_compile::{Options, compile};
use gabion_policy_model::PolicySet;
use gabion_policy_model::text::{self as policy, Source};

use crate::exit::{Exit, Failure};
use crate::online::failed;
use crate::output;
use crate::policy::test;
use crate::progress::doing;
use crate::report::{self, Problem};

/// Digest of the tables that a policy compiles to.
pub fn tables(set: &PolicySet) -> Result<Digest, Failure> {
    doing("compiling");
    let compiled = compile(set, &Options { progress: doing, ..Options::default() }).map_err(|refused| {
        let mut failure = Failure::input(format!("the policy does not fit: {refused}"));
        failure.exit = Exit::No;
        failure.help("`gabion policy compile` says what it needs")
    })?;
    Ok(Digest::of_parts(|part| compiled.parts(part)))
}

/// Asks golden packets; says which got another verdict. How many there were.
pub fn golden(probes: &[Source], set: &PolicySet) -> Result<usize, Failure> {
    doing("asking golden packets");
    let results = test::ask(probes, set).map_err(|problem| {
        report::print(&[*problem], probes);
        Failure::reported(Exit::Input)
    })?;
    if results.failed + results.errors == 0 {
        return Ok(results.passed);
    }
    output::say(&test::table(&results));
    let message =
        format!("{} golden packets got another verdict than is expected of them", results.failed + results.errors);
    let mut failure = Failure::input(message);
    failure.exit = if results.errors > 0 { Exit::Input } else { Exit::No };
    Err(failure.help("`gabion policy test` asks them one by one, `gabion explain` says why a packet passes"))
}

/// Documents of a bundle.
pub fn texts(bundle: &Bundle, used_as: Use) -> Result<Vec<Source>, Failure> {
    let of_use = bundle.manifest().files.iter().filter(|(_, it)| it.used_as == used_as);
    let texts = of_use.map(|(path, _)| {
        let bytes = bundle.file(path).unwrap_or_default().to_vec();
        Source::from_bytes(path.as_str(), bytes).map_err(|finding| {
            report::print(&[Problem::from(*finding)], &[]);
            Failure::reported(Exit::Input)
        })
    });
    texts.collect()
}

/// The policy of a bundle.
pub fn policy(bundle: &Bundle) -> Result<PolicySet, Failure> {
    let texts = texts(bundle, Use::Policy)?;
    policy::parse(&texts).map_err(|findings| {
        let problems: Vec<Problem> = findings.into_iter().map(Problem::from).collect();
        report::print(&problems, &texts);
        Failure::reported(Exit::Input)
    })
}

/// Digests of the contracts that this gabion has.
pub fn contracts() -> Result<BTreeMap<Name, Digest>, Failure> {
    sealed::contracts().map_err(failed)
}

/// Those of an object, and of what outlives it.
pub fn contracts_of(object: &[u8], by: &str) -> Result<BTreeMap<Name, Digest>, Failure> {
    let said = embedded(object).map_err(|error| Failure::input(format!("{by}: {error}")))?;
    let mut all = contracts()?;
    let name = OBJECT.name;
    let name = name.parse().map_err(|_| Failure::defect(format!("{name:?} is no name in a bundle")))?;
    all.insert(name, Digest::of(said));
    Ok(all)
}
