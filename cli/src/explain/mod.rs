//! `gabion explain`: one question, or a file of them.

mod batch;
mod show;

use std::borrow::Cow;

use gabion_policy_compile::{Options, compile};
use gabion_policy_explain::{Directory, Oracle, Query, Scalar, Tables, explain, verdict};
use gabion_policy_model::PolicySet;

use crate::command::ExplainArgs;
use crate::exit::{Exit, Failure};
use crate::{output, sources};

pub fn run(arguments: &ExplainArgs) -> Result<Exit, Failure> {
    let stdin = |path: &std::path::PathBuf| path.as_os_str() == "-";
    if arguments.batch.as_ref().is_some_and(stdin) && arguments.policy.iter().any(stdin) {
        return Err(Failure::input("stdin cannot be both the policy and the questions").help("put one into a file"));
    }
    let set = sources::load(&arguments.policy)?;
    if let Some(questions) = &arguments.batch {
        return batch::run(&set, questions);
    }
    let directory = Directory::new(&set);
    let query = query(arguments);
    let packet = directory.packet(&query).map_err(|error| Failure::input(error.to_string()))?;
    let by_oracle = verdict(&Oracle(&set), &directory, &packet);
    let answer = explain(&set, &directory, &packet, &by_oracle);
    output::show(arguments.output.output, &answer, show::table)?;
    agree(&set, |tables| verdict(tables, &directory, &packet) == by_oracle)?;
    Ok(if by_oracle.is_allowed() { Exit::Fine } else { Exit::No })
}

/// The tables are what enforces: an answer that they do not give is no answer.
fn agree(set: &PolicySet, same: impl FnOnce(&Tables<'_>) -> bool) -> Result<(), Failure> {
    match compile(set, &Options::default()) {
        Ok(compiled) if same(&Tables::new(&compiled)) => Ok(()),
        Ok(_) => Err(Failure::defect("the compiled tables decide otherwise about this packet")),
        Err(refused) => {
            output::say(&format!("warning: a node would refuse this policy: {refused}\n"));
            Ok(())
        }
    }
}

fn query(arguments: &ExplainArgs) -> Query<'_> {
    fn text(value: &Option<String>) -> Option<Cow<'_, str>> {
        value.as_deref().map(Cow::Borrowed)
    }
    fn scalar(value: &Option<String>) -> Option<Scalar<'_>> {
        value.as_deref().map(Scalar::from)
    }
    Query {
        src: text(&arguments.src),
        dst: text(&arguments.dst),
        src_mac: text(&arguments.src_mac),
        dst_mac: text(&arguments.dst_mac),
        proto: scalar(&arguments.proto),
        sport: scalar(&arguments.sport),
        dport: scalar(&arguments.dport),
        arrives: text(&arguments.arrives),
        leaves: text(&arguments.leaves),
        ethertype: scalar(&arguments.ethertype),
        llc: scalar(&arguments.llc),
        icmp: scalar(&arguments.icmp),
        hop_limit: scalar(&arguments.hop_limit),
        flags: scalar(&arguments.flags),
        vlan: scalar(&arguments.vlan),
        inner_vlan: scalar(&arguments.inner_vlan),
        fragment: scalar(&arguments.fragment),
        unparsed: scalar(&arguments.unparsed),
    }
}
