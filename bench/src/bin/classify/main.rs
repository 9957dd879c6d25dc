//! What a decision costs: nanoseconds a packet beyond a bare program that gives the same verdicts, over live frames of
//! many flows, for Gabion and for others that decide by the same rules. Needs root.
//! `./x bench classify [--quick] [--rounds N] [--list] [FILTER]...`; a filter is a part of a set's name.

mod aims;
mod cast;
mod measure;
mod plot;
mod result;
mod table;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use gabion_policy_compile::{Options, compile};
use gabion_testing_peers::Failure;
use gabion_testing_peers::live::Generator;
use gabion_testing_peers::rules::{Recipe, Variant};

use crate::cast::{COMPILES, Cast};
use crate::measure::Effort;
use crate::result::{Results, SetResult};

/// What is measured when time is short.
const QUICK: [&str; 3] = ["segments_100", "segments_1k", "acl1_1k"];

struct Arguments {
    effort: Effort,
    quick: bool,
    list: bool,
    compiles: bool,
    filters: Vec<String>,
}

fn arguments() -> Result<Arguments, Failure> {
    let mut wanted =
        Arguments { effort: Effort::FULL, quick: false, list: false, compiles: false, filters: Vec::new() };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--quick" => (wanted.quick, wanted.effort) = (true, Effort::QUICK),
            "--list" => wanted.list = true,
            COMPILES => wanted.compiles = true,
            "--rounds" => {
                let number = words.next().ok_or("--rounds wants a number")?;
                wanted.effort.rounds = number.parse().map_err(|error| format!("--rounds {number}: {error}"))?;
            }
            option if option.starts_with('-') => {
                return Err(format!("there is no option {option}; there are --quick, --rounds N and --list").into());
            }
            filter => wanted.filters.push(filter.to_owned()),
        }
    }
    Ok(wanted)
}

fn main() -> ExitCode {
    match bench() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("classify: {error}");
            ExitCode::FAILURE
        }
    }
}

fn bench() -> Result<(), Failure> {
    let arguments = arguments()?;
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let data = std::env::var_os("GABION_TEST_DATA").map_or_else(|| here.join("../../shared/data"), PathBuf::from);
    let mut recipes = Recipe::all(&data);
    if !data.join("classbench").is_dir() {
        println!("no ClassBench sets at {}: GABION_TEST_DATA says where they are", data.display());
    }
    if arguments.filters.is_empty() && arguments.quick {
        recipes.retain(|recipe| QUICK.contains(&recipe.name().as_str()));
    } else if !arguments.filters.is_empty() {
        let names: Vec<String> = recipes.iter().map(Recipe::name).collect();
        // The name of a set is that set, and not those that begin alike.
        let wanted =
            |name: &String, filter: &String| name == filter || !names.contains(filter) && name.contains(filter);
        recipes.retain(|recipe| arguments.filters.iter().any(|filter| wanted(&recipe.name(), filter)));
    }
    if arguments.list {
        recipes.iter().for_each(|recipe| println!("{}", recipe.name()));
        return Ok(());
    }
    if arguments.compiles {
        for recipe in &recipes {
            compile(&recipe.make()?.policies(Variant::Stateless), &Options::default())?;
        }
        return Ok(());
    }
    let before = gabion_bench::load();
    let work = std::env::temp_dir().join(format!("gabion-classify-{}", std::process::id()));
    std::fs::create_dir_all(&work)?;
    let outcome = sets(&recipes, &arguments, &work);
    // The mounts in it are in namespaces that are gone.
    std::fs::remove_dir_all(&work)?;
    let results = Results::new(before, arguments.effort, outcome?);
    if arguments.filters.is_empty() && !arguments.quick {
        gabion_bench::write("classify.json", &(serde_json::to_string_pretty(&results)? + "\n"))?;
        gabion_bench::write("classify.svg", &plot::draw(&results.sets))?;
    } else {
        println!("not all was measured in full, so that bench/results stays as it is");
    }
    table::summary(&results);
    Ok(())
}

fn sets(recipes: &[Recipe], arguments: &Arguments, work: &Path) -> Result<Vec<SetResult>, Failure> {
    let mut results = Vec::new();
    // The last processor: the first has the interrupts.
    let processor = std::thread::available_parallelism()?.get() - 1;
    for recipe in recipes {
        let set = recipe.make()?;
        println!("\n{}: {} rules, {} of {} packets pass", set.name, set.rules, set.passing(), set.trace.len());
        let mut generator = Generator::new()?;
        let cast = Cast::assemble(&mut generator, &set, work, arguments.effort.linear)?;
        let result = measure::set(&mut generator, cast, &set, arguments.effort, processor)?;
        table::set(&result);
        results.push(result);
    }
    Ok(results)
}
