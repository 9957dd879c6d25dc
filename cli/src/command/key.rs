//! `gabion key ...`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::OutputArgs;

/// What can be done with keys.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a key, in an encrypted file or in a token
    New(NewKeyArgs),
    /// Show the public half of a key, and what metadata calls it
    Show(ShowKeyArgs),
}

/// `gabion key new`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gabion key new anna.key                      # asks for a passphrase; writes anna.key and anna.key.pub
  gabion key new --algorithm ecdsa-p256 --passphrase-file words.txt bert.key
  gabion key new --public carl.pub 'pkcs11:token=site;object=carl?module-path=/usr/lib/softhsm/libsofthsm2.so'

A file is PKCS #8, encrypted by AES-256 with a key that scrypt makes of the passphrase; only its owner may read it. A \
key in a token never leaves it.")]
pub struct NewKeyArgs {
    /// File of the private half, which must not be there yet; or the URI of a key in a token (RFC 7512)
    #[arg(value_name = "KEY")]
    pub key: String,
    /// What it signs with
    #[arg(long, value_name = "ALGORITHM", default_value = "ed25519")]
    pub algorithm: KeyAlgorithm,
    /// File of the public half [default: KEY.pub]
    #[arg(long, value_name = "FILE")]
    pub public: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub passphrase: PassphraseArgs,
}

/// What keys sign with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KeyAlgorithm {
    /// Ed25519
    #[value(name = "ed25519")]
    Ed25519,
    /// ECDSA over P-256 with SHA-256
    #[value(name = "ecdsa-p256")]
    EcdsaP256,
}

/// `gabion key show`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gabion key show anna.key.pub
  gabion key show --output json 'pkcs11:token=site;object=carl?module-path=/usr/lib/softhsm/libsofthsm2.so'")]
pub struct ShowKeyArgs {
    /// File of either half, or the URI of a key in a token
    #[arg(value_name = "KEY")]
    pub key: String,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub passphrase: PassphraseArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub output: OutputArgs,
}

/// Where the words are that open a key.
#[derive(Clone, Debug, Args)]
pub struct PassphraseArgs {
    /// First line of this file is the passphrase of the key, or the PIN of the token [default: GABION_PASSPHRASE, or
    /// asked for]
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
}

/// A key that signs.
#[derive(Clone, Debug, Args)]
pub struct SigningKeyArgs {
    /// The key: an encrypted file (PKCS #8), or the URI of a key in a token (RFC 7512)
    #[arg(long, value_name = "KEY")]
    pub key: String,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub passphrase: PassphraseArgs,
}
