//! `gabion explain --batch`: one JSON object a line in, one a line out, in order.
//!
//! Questions are parsed without copying, the compiled tables decide, and what is said about a pair of rules is
//! written once: most of the time goes into reading JSON.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::Path;

use gabion_policy_compile::{Options, compile};
use gabion_policy_explain::answer::verdict_name;
use gabion_policy_explain::{Directory, Judge, Oracle, Query, Tables, Verdict, verdict};
use gabion_policy_model::PolicySet;
use gabion_policy_model::trace::Direction;
use serde::Serialize;

use crate::exit::{Exit, Failure};
use crate::output::{self, written};

const BUFFER: usize = 1 << 20;
/// Longest line that can be a question.
const LINE_LIMIT: usize = 64 << 10;

pub fn run(set: &PolicySet, questions: &Path) -> Result<Exit, Failure> {
    let input: Box<dyn Read> = if questions.as_os_str() == "-" {
        Box::new(io::stdin().lock())
    } else {
        let name = questions.display().to_string();
        Box::new(File::open(questions).map_err(|error| Failure::file(&name, "open this file", &error))?)
    };
    let directory = Directory::new(set);
    match compile(set, &Options::default()) {
        Ok(compiled) => answer_all(set, &directory, &Tables::new(&compiled), input, questions),
        Err(refused) => {
            output::say(&format!(
                "warning: a node would refuse this policy: {refused}\n\
                 warning: answers come from the rules one by one, which is slow\n"
            ));
            answer_all(set, &directory, &Oracle(set), input, questions)
        }
    }
}

fn answer_all<J: Judge>(
    set: &PolicySet,
    directory: &Directory<'_>,
    judge: &J,
    input: Box<dyn Read>,
    questions: &Path,
) -> Result<Exit, Failure> {
    let mut answers = Answers { set, directory, judge, known: HashMap::new(), bad: false };
    let mut input = BufReader::with_capacity(BUFFER, input);
    let mut output = BufWriter::with_capacity(BUFFER, io::stdout().lock());
    let mut line = Vec::new();
    let mut number = 0_u64;
    loop {
        if input.buffer().is_empty() {
            // Whoever asks line by line is waiting for what is answered so far.
            if let Err(error) = output.flush() {
                return written(Err(error)).map(|()| answers.exit());
            }
        }
        let next = next_line(&mut input, &mut line)
            .map_err(|error| Failure::file(&questions.display().to_string(), "read this file", &error))?;
        number += 1;
        let said = match next {
            Line::End => break,
            Line::TooLong => {
                let message = format!("a question has at most {LINE_LIMIT} bytes");
                answers.error(&mut output, number, &message)
            }
            Line::Whole => answers.answer(&mut output, number, &line),
        };
        if let Err(error) = said {
            return written(Err(error)).map(|()| answers.exit());
        }
    }
    written(output.flush())?;
    Ok(answers.exit())
}

enum Line {
    End,
    Whole,
    TooLong,
}

/// Reads a line; of one that is too long only the end is looked for.
fn next_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Line> {
    line.clear();
    let mut read = input.take(LINE_LIMIT as u64 + 1).read_until(b'\n', line)?;
    if read == 0 {
        return Ok(Line::End);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
        return Ok(Line::Whole);
    }
    if read <= LINE_LIMIT {
        return Ok(Line::Whole);
    }
    while read > 0 {
        let buffer = input.fill_buf()?;
        let end = buffer.iter().position(|&byte| byte == b'\n');
        read = end.map_or(buffer.len(), |end| end + 1);
        input.consume(read);
        if end.is_some() {
            break;
        }
    }
    Ok(Line::TooLong)
}

struct Answers<'a, 's, J> {
    set: &'a PolicySet,
    directory: &'a Directory<'s>,
    judge: &'a J,
    /// What is said about a verdict; there are as many as pairs of rules that met.
    known: HashMap<Verdict, Box<[u8]>>,
    bad: bool,
}

/// Pairs of rules that are remembered; beyond that they are forgotten and begun anew.
const KNOWN_LIMIT: usize = 1 << 16;

#[derive(Serialize)]
struct Short<'a> {
    verdict: &'static str,
    rule: String,
    tier: &'a str,
    reason: String,
    direction: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    egress: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ingress: Option<String>,
}

#[derive(Serialize)]
struct Bad<'a> {
    error: &'a str,
    line: u64,
}

impl<J: Judge> Answers<'_, '_, J> {
    fn exit(&self) -> Exit {
        if self.bad { Exit::Input } else { Exit::Fine }
    }

    fn answer(&mut self, output: &mut impl Write, number: u64, line: &[u8]) -> io::Result<()> {
        // A list would be read as the fields in the order of their declaration.
        if line.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
            let message =
                "this is no question: write one JSON object a line, {\"src\": ..., \"dst\": ..., \"proto\": ...}";
            return self.error(output, number, message);
        }
        let query: Query<'_> = match serde_json::from_slice(line) {
            Ok(query) => query,
            Err(error) => {
                // Its own line is always the first.
                let message = error.to_string().replace(" at line 1 column ", " at column ");
                return self.error(output, number, &format!("this is no question: {message}"));
            }
        };
        let packet = match self.directory.packet(&query) {
            Ok(packet) => packet,
            Err(error) => return self.error(output, number, &error.to_string()),
        };
        let verdict = verdict(self.judge, self.directory, &packet);
        if let Some(known) = self.known.get(&verdict) {
            return output.write_all(known);
        }
        let said = self.say(&verdict)?;
        output.write_all(&said)?;
        if self.known.len() == KNOWN_LIMIT {
            self.known.clear();
        }
        self.known.insert(verdict, said);
        Ok(())
    }

    fn say(&self, verdict: &Verdict) -> io::Result<Box<[u8]>> {
        let deciding = verdict.deciding();
        let name = |way: Direction, d: gabion_policy_model::oracle::Decision| d.rule.name(self.set, way);
        let short = Short {
            verdict: verdict_name(verdict.is_allowed()),
            rule: deciding.map_or_else(String::new, |(way, d)| name(way, d)),
            tier: deciding.map_or("", |(_, d)| d.rule.tier(self.set)),
            reason: verdict.reason(self.set),
            direction: match deciding {
                Some((Direction::Egress, _)) => "egress",
                _ => "ingress",
            },
            egress: verdict.egress.map(|d| name(Direction::Egress, d)),
            ingress: verdict.ingress.map(|d| name(Direction::Ingress, d)),
        };
        let mut said = serde_json::to_vec(&short)?;
        said.push(b'\n');
        Ok(said.into())
    }

    fn error(&mut self, output: &mut impl Write, number: u64, message: &str) -> io::Result<()> {
        self.bad = true;
        serde_json::to_writer(&mut *output, &Bad { error: message, line: number })?;
        output.write_all(b"\n")
    }
}
