//! Files that were named on the command line, whole.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::exit::Failure;

/// Largest file that is looked into: objects come with debug information.
const LIMIT: usize = 256 << 20;

/// A file, or stdin.
pub struct Input {
    /// What errors call it.
    pub by: String,
    pub bytes: Vec<u8>,
}

impl Input {
    /// Reads it; - is stdin.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let by = if path.as_os_str() == "-" { "<stdin>".to_owned() } else { path.display().to_string() };
        let failed = |error| Failure::file(&by, "read this file", &error);
        let input: Box<dyn Read> =
            if by == "<stdin>" { Box::new(io::stdin().lock()) } else { Box::new(File::open(path).map_err(failed)?) };
        let mut bytes = Vec::new();
        input.take(LIMIT as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() > LIMIT {
            let message = format!("{by}: more than {LIMIT} bytes, which is nothing that is read here");
            return Err(Failure::input(message).help("strip its debug information (llvm-strip -g keeps .BTF)"));
        }
        Ok(Self { by, bytes })
    }

    /// The kernel programs of this gabion that judge packets.
    pub fn programs() -> Result<Self, Failure> {
        Self::built(gabion_kernel_object::object().ok())
    }

    /// Those that follow sockets.
    pub fn owners() -> Result<Self, Failure> {
        Self::built(gabion_owners::object().ok())
    }

    /// Those of the gatekeeper.
    pub fn gatekeeper() -> Result<Self, Failure> {
        Self::built(gabion_gatekeeper::object().ok())
    }

    fn built(object: Option<&[u8]>) -> Result<Self, Failure> {
        let object = object.ok_or_else(|| {
            let message =
                "this gabion was built without kernel programs, so that it cannot say what they share and read";
            Failure::input(message).help("`./x doctor` says what is missing, then build again")
        })?;
        Ok(Self { by: "this gabion".to_owned(), bytes: object.to_vec() })
    }

    /// Whether it is an object, and not a text.
    pub fn is_object(&self) -> bool {
        self.bytes.starts_with(b"\x7fELF")
    }
}
