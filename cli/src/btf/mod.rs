//! `gabion btf ...`, and views for `gabion abi check --kernels`: kernel types, and what programs read of them.

mod views;

use std::path::Path;

use gabion_btf::{Btf, Outline, Problem};
use serde::Serialize;

use crate::command::{BindArgs, BtfCommand, ExtractArgs, ShowArgs, TypesArgs};
use crate::exit::{Exit, Failure, blame};
use crate::file::Input;
use crate::output;

use views::views;
pub use views::{Kernels, Matrix};

/// Types of the kernel that runs.
const RUNNING: &str = "/sys/kernel/btf/vmlinux";

pub fn run(command: BtfCommand) -> Result<Exit, Failure> {
    match command {
        BtfCommand::Show(arguments) => show(&arguments),
        BtfCommand::Bind(arguments) => bind(&arguments),
        BtfCommand::Extract(arguments) => extract(&arguments),
    }
}

fn show(arguments: &ShowArgs) -> Result<Exit, Failure> {
    let kernel = types(&arguments.types)?;
    let outlines = kernel.outlines(&arguments.name).map_err(|error| wrong(&error))?;
    let shown: Vec<Shown<'_>> = outlines.iter().map(Shown::of).collect();
    output::show(arguments.output.output, &shown, |_| {
        let texts: Vec<String> = outlines.iter().map(Outline::to_string).collect();
        texts.join("\n")
    })?;
    Ok(Exit::Fine)
}

fn bind(arguments: &BindArgs) -> Result<Exit, Failure> {
    let objects = objects(arguments.object.as_deref())?;
    let kernels = Kernels::of(vec![types(&arguments.types)?]);
    let matrix = Matrix::of(&objects, &kernels)?;
    output::show(arguments.output.output, &matrix, Matrix::list)?;
    Ok(matrix.exit())
}

fn extract(arguments: &ExtractArgs) -> Result<Exit, Failure> {
    let objects = objects(arguments.object.as_deref())?;
    let described = views(&objects)?;
    if described.is_empty() {
        return Err(Failure::input(views::none(&objects)).help("name an object that has views: --for OBJECT"));
    }
    let views: Vec<_> = described.iter().map(gabion_view::described::Described::view).collect();
    let kernel = types(&arguments.types)?;
    let extract = gabion_view::matrix::extracted(&kernel, &views).map_err(|error| wrong(&error))?;
    if arguments.to.as_os_str() == "-" {
        return output::print_bytes(&extract).map(|()| Exit::Fine);
    }
    let failed = |error| Failure::file(&arguments.to.display().to_string(), "write this file", &error);
    std::fs::write(&arguments.to, extract).map_err(failed)?;
    Ok(Exit::Fine)
}

/// The object of kernel programs that was named, or those of this gabion.
pub fn objects(path: Option<&Path>) -> Result<Vec<Input>, Failure> {
    match path {
        Some(path) => Ok(vec![Input::read(path)?]),
        None => Ok(vec![Input::programs()?, Input::owners()?, Input::gatekeeper()?]),
    }
}

fn types(arguments: &TypesArgs) -> Result<Btf, Failure> {
    let path = arguments.btf.as_deref().unwrap_or(Path::new(RUNNING));
    let running = Path::new(RUNNING);
    let of_module = path.parent() == running.parent() && path != running;
    match arguments.base.as_deref().or(of_module.then_some(running)) {
        Some(base) => Btf::open_split(&open(base)?, path).map_err(|error| wrong(&error)),
        None => open(path),
    }
}

/// Types out of a file.
pub fn open(path: &Path) -> Result<Btf, Failure> {
    Btf::open(path).map_err(|error| wrong(&error))
}

fn wrong(error: &gabion_btf::Error) -> Failure {
    let mut failure = Failure::input(error.to_string());
    if let Problem::Read { error } = &*error.problem {
        failure.exit = blame(error);
    }
    failure
}

/// A type, or a member of one.
#[derive(Serialize)]
struct Shown<'o> {
    name: &'o str,
    declaration: String,
    /// Bytes from the beginning of the outermost type, and bits behind those.
    offset: u64,
    bit: u64,
    size: u64,
    /// Width of a bit-field.
    bits: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    members: Option<Vec<Self>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    values: Option<Vec<Value<'o>>>,
}

#[derive(Serialize)]
struct Value<'o> {
    name: &'o str,
    value: i128,
}

impl<'o> Shown<'o> {
    fn of(outline: &'o Outline) -> Self {
        let Outline { of, declarator, name, bit_offset, size, bits, members, values } = outline;
        let value = |(name, value): &'o (String, i128)| Value { name, value: *value };
        Self {
            name,
            declaration: format!("{of} {declarator}").trim_end().to_owned(),
            offset: bit_offset / 8,
            bit: bit_offset % 8,
            size: *size,
            bits: *bits,
            members: members.as_ref().map(|members| members.iter().map(Self::of).collect()),
            values: values.as_ref().map(|values| values.iter().map(value).collect()),
        }
    }
}
