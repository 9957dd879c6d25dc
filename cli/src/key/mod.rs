//! `gabion key ...`, and keys as other commands want them.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use gabion_trust::token::{self, TokenError, TokenUri};
use gabion_trust::{Algorithm, FileKey, PublicKey, Signer, Unopened};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::command::{KeyAlgorithm, KeyCommand, NewKeyArgs, PassphraseArgs, ShowKeyArgs, SigningKeyArgs};
use crate::exit::{Exit, Failure, plain};
use crate::file::Input;
use crate::output;

/// Where the passphrase may be, for scripts.
const VARIABLE: &str = "GABION_PASSPHRASE";

pub fn run(command: KeyCommand) -> Result<Exit, Failure> {
    match command {
        KeyCommand::New(arguments) => new(&arguments),
        KeyCommand::Show(arguments) => show(&arguments),
    }
}

fn new(arguments: &NewKeyArgs) -> Result<Exit, Failure> {
    let algorithm = match arguments.algorithm {
        KeyAlgorithm::Ed25519 => Algorithm::Ed25519,
        KeyAlgorithm::EcdsaP256 => Algorithm::EcdsaP256,
    };
    let (public, shown) = if is_token(&arguments.key) {
        let Some(shown) = &arguments.public else {
            return Err(Failure::input("a key in a token has no file beside which its public half could be")
                .help("--public FILE says where to write it"));
        };
        absent(shown)?;
        let uri = uri(&arguments.key)?;
        let pin = passphrase(&arguments.passphrase, "PIN", false)?;
        (token::generate(&uri, &pin, algorithm).map_err(|error| token_failure(&error))?.public(), shown.clone())
    } else {
        let shown = arguments.public.clone().unwrap_or_else(|| PathBuf::from(format!("{}.pub", arguments.key)));
        absent(Path::new(&arguments.key))?;
        absent(&shown)?;
        let words = passphrase(&arguments.passphrase, "passphrase", true)?;
        if words.is_empty() {
            return Err(Failure::input("an empty passphrase keeps nobody out").help("choose some words"));
        }
        let made = FileKey::generate(algorithm).and_then(|key| Ok((key.pem(words.as_bytes())?, key.public())));
        let (pem, public) = made.map_err(|error| Failure::system(error.to_string()))?;
        write(Path::new(&arguments.key), pem.as_bytes(), 0o600)?;
        (public, shown)
    };
    write(&shown, public.pem().as_bytes(), 0o644)?;
    output::print(&format!("{} {}\n{}\n", public.algorithm(), public.id(), shown.display()))?;
    Ok(Exit::Fine)
}

fn absent(path: &Path) -> Result<(), Failure> {
    if path.symlink_metadata().is_ok() {
        let message = format!("{} is there already", path.display());
        return Err(Failure::input(message).help("a key is never written over: choose another name, or move it away"));
    }
    Ok(())
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Failure> {
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let written = file.and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(|error| Failure::file(&path.display().to_string(), "write this file", &error))
}

#[derive(Serialize)]
struct Shown {
    id: String,
    algorithm: String,
    public: String,
}

fn show(arguments: &ShowKeyArgs) -> Result<Exit, Failure> {
    let public = if is_token(&arguments.key) {
        open(&arguments.key, &arguments.passphrase)?.public()
    } else {
        let text = text(Path::new(&arguments.key))?;
        match PublicKey::of_pem(&text) {
            Ok(public) => public,
            Err(_) if text.contains("PRIVATE KEY") => open(&arguments.key, &arguments.passphrase)?.public(),
            Err(error) => return Err(Failure::input(format!("{}: {error}", arguments.key))),
        }
    };
    let shown = Shown { id: public.id(), algorithm: public.algorithm().to_string(), public: public.pem() };
    output::show(arguments.output.output, &shown, |it| format!("{} {}\n{}", it.algorithm, it.id, it.public))?;
    Ok(Exit::Fine)
}

/// The key that is to sign.
pub fn signer(arguments: &SigningKeyArgs) -> Result<Box<dyn Signer>, Failure> {
    open(&arguments.key, &arguments.passphrase)
}

/// A public key out of a file.
pub fn public(path: &Path) -> Result<PublicKey, Failure> {
    PublicKey::of_pem(&text(path)?).map_err(|error| {
        let failure = Failure::input(format!("{}: {error}", path.display()));
        failure.help("`gabion key new` writes the public half beside the private one, as KEY.pub")
    })
}

fn open(key: &str, passphrase_args: &PassphraseArgs) -> Result<Box<dyn Signer>, Failure> {
    if is_token(key) {
        let uri = uri(key)?;
        let pin = passphrase(passphrase_args, "PIN", false)?;
        return token::open(&uri, &pin).map_err(|error| token_failure(&error));
    }
    let text = Zeroizing::new(text(Path::new(key))?);
    if PublicKey::of_pem(&text).is_ok() {
        let failure = Failure::input(format!("{key}: this is the public half, which signs nothing"));
        return Err(failure.help("name the file without .pub"));
    }
    let words = passphrase(passphrase_args, "passphrase", false)?;
    match FileKey::of_pem(&text, words.as_bytes()) {
        Ok(key) => Ok(Box::new(key)),
        Err(error @ Unopened::Passphrase) => {
            let help = format!("--passphrase-file or {VARIABLE} may hold that of another key");
            Err(Failure::input(format!("{key}: {error}")).help(help))
        }
        Err(error) => Err(Failure::input(format!("{key}: {error}"))),
    }
}

fn is_token(key: &str) -> bool {
    key.starts_with("pkcs11:")
}

fn uri(text: &str) -> Result<TokenUri, Failure> {
    text.parse().map_err(|error: TokenError| Failure::input(error.to_string()))
}

fn token_failure(error: &TokenError) -> Failure {
    match error {
        TokenError::Said { .. } => Failure::system(error.to_string()),
        _ => Failure::input(error.to_string()),
    }
}

fn text(path: &Path) -> Result<String, Failure> {
    let input = Input::read(path)?;
    String::from_utf8(input.bytes).map_err(|_| Failure::input(format!("{}: no key, which would be text", input.by)))
}

/// The words that open a key: from a file, the environment, or whoever sits there.
fn passphrase(arguments: &PassphraseArgs, what: &str, twice: bool) -> Result<Zeroizing<String>, Failure> {
    if let Some(path) = &arguments.passphrase_file {
        let text = Zeroizing::new(text(path)?);
        return Ok(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned()));
    }
    if let Ok(words) = std::env::var(VARIABLE) {
        return Ok(Zeroizing::new(words));
    }
    let ask = |prompt: &str| {
        rpassword::prompt_password(prompt).map(Zeroizing::new).map_err(|error| {
            let message = format!("there is nobody to ask for the {what}: {}", plain(&error));
            Failure::input(message).help(format!("--passphrase-file FILE, or {VARIABLE}"))
        })
    };
    let words = ask(&format!("{what}: "))?;
    if twice && ask(&format!("{what}, again: "))? != words {
        return Err(Failure::input(format!("these are two different {what}s")));
    }
    Ok(words)
}
