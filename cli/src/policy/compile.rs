//! `gabion policy compile`: whether a policy fits, and what it needs.

use std::time::Instant;

use gabion_policy_compile::{Compiled, DirectionStats, Options, compile};
use serde::Serialize;

use crate::command::CompileArgs;
use crate::exit::{Exit, Failure};
use crate::output::{self, columns};
use crate::policy::stats::{self, Stats};
use crate::progress::{Progress, doing};
use crate::sources;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Size {
    fits: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    tables: Option<Tables>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Tables {
    bytes: usize,
    limit_bytes: usize,
    rules: usize,
    source_classes: usize,
    destination_classes: usize,
    service_classes: usize,
    interfaces: usize,
    compile_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    egress: Option<Direction>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ingress: Option<Direction>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    stats: Option<Stats>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Direction {
    list: usize,
    groups: usize,
    pairs: usize,
    lists: usize,
    bytes: usize,
}

impl From<&DirectionStats> for Direction {
    fn from(stats: &DirectionStats) -> Self {
        let DirectionStats { items, groups, cells, lists, bytes, .. } = *stats;
        Self { list: items, groups, pairs: cells, lists, bytes }
    }
}

pub fn run(arguments: &CompileArgs) -> Result<Exit, Failure> {
    let set = sources::load(&arguments.policy.paths)?;
    let progress = Progress::begin("compiling");
    let mut options = Options { progress: doing, ..Options::default() };
    if let Some(bytes) = arguments.table_bytes {
        options.table_bytes = bytes;
    }
    let start = Instant::now();
    let result = compile(&set, &options);
    let compile_ms = stats::ms(start.elapsed());
    doing("loading the programs");
    let mut refused = None;
    let size = match result {
        Ok(compiled) => {
            let stats = arguments.stats.then(|| Stats::of(&compiled));
            let stats = stats.map(|(stats, failure)| {
                refused = failure;
                stats
            });
            Size { fits: true, reason: None, tables: Some(tables(&compiled, &options, compile_ms, stats)) }
        }
        Err(refused) => Size { fits: false, reason: Some(refused.to_string()), tables: None },
    };
    drop(progress);
    output::show(arguments.output.output, &size, table)?;
    match refused {
        Some(failure) => Err(failure),
        None => Ok(if size.fits { Exit::Fine } else { Exit::No }),
    }
}

fn tables(compiled: &Compiled, options: &Options, compile_ms: f64, more: Option<Stats>) -> Tables {
    let each = more.is_some();
    let stats = &compiled.stats;
    Tables {
        bytes: stats.bytes,
        limit_bytes: options.table_bytes,
        rules: compiled.rules.len(),
        source_classes: stats.source_classes,
        destination_classes: stats.destination_classes,
        service_classes: stats.service_classes,
        interfaces: compiled.interfaces.len(),
        compile_ms,
        egress: each.then(|| (&stats.egress).into()),
        ingress: each.then(|| (&stats.ingress).into()),
        stats: more,
    }
}

fn table(size: &Size) -> String {
    let Some(tables) = &size.tables else {
        return format!("does not fit: {}\n", size.reason.as_deref().unwrap_or_default());
    };
    let row = |name: &str, value: usize| vec![name.to_owned(), value.to_string()];
    let mut rows = vec![
        row("table bytes", tables.bytes),
        row("limit", tables.limit_bytes),
        row("rule numbers", tables.rules),
        row("source classes", tables.source_classes),
        row("destination classes", tables.destination_classes),
        row("service classes", tables.service_classes),
        row("interfaces named", tables.interfaces),
        vec!["compiled in".to_owned(), format!("{:.1} ms", tables.compile_ms)],
    ];
    for (name, direction) in [("egress", &tables.egress), ("ingress", &tables.ingress)] {
        if let Some(d) = direction {
            for (what, value) in
                [("list", d.list), ("groups", d.groups), ("pairs", d.pairs), ("lists", d.lists), ("bytes", d.bytes)]
            {
                rows.push(row(&format!("{name} {what}"), value));
            }
        }
    }
    columns(&rows) + &tables.stats.as_ref().map(Stats::table).unwrap_or_default()
}
