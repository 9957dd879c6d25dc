//! Keys in a token: SoftHSM 2, where it is installed (Debian: softhsm2).
#![cfg(feature = "pkcs11")]
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::process::Command;

use gabion_trust::Algorithm;
use gabion_trust::token::{TokenUri, generate, open};

const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";

// One process, and in it one test: where a token's library finds its tokens is in the environment.
#[test]
fn keys_are_made_in_a_token_and_sign_there() {
    let Ok(own) = std::env::var("GABION_TEST_TOKENS") else {
        if !Path::new(MODULE).exists() {
            eprintln!("SKIPPED: no {MODULE}: as root, apt-get install softhsm2");
            assert!(std::env::var_os("GABION_REQUIRE_TOKEN").is_none(), "a token is required here");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let configuration = folder.path().join("softhsm2.conf");
        let text = format!("directories.tokendir = {}\nobjectstore.backend = file\n", folder.path().display());
        std::fs::write(&configuration, text).unwrap();
        let made = Command::new("softhsm2-util")
            .args(["--init-token", "--free", "--label", "site", "--pin", "1234", "--so-pin", "5678"])
            .env("SOFTHSM2_CONF", &configuration)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let again = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "keys_are_made_in_a_token_and_sign_there"])
            .env("SOFTHSM2_CONF", &configuration)
            .env("GABION_TEST_TOKENS", "site")
            .output()
            .unwrap();
        assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stdout));
        return;
    };
    for algorithm in [Algorithm::Ed25519, Algorithm::EcdsaP256] {
        let uri: TokenUri = format!("pkcs11:token={own};object=key-{algorithm}?module-path={MODULE}").parse().unwrap();
        let made = generate(&uri, "1234", algorithm).unwrap();
        let found = open(&uri, "1234").unwrap();
        assert_eq!((made.public(), made.public().algorithm()), (found.public(), algorithm));
        let signature = found.sign(b"text").unwrap();
        assert!(made.public().verifies(b"text", &signature));
        assert!(!made.public().verifies(b"other", &signature));
        assert!(generate(&uri, "1234", algorithm).is_err_and(|error| error.to_string().contains("there already")));
        assert_eq!(gabion_trust::PublicKey::of_pem(&found.public().pem()).unwrap(), found.public());
    }
    let uri = |text: &str| -> TokenUri { format!("pkcs11:{text}?module-path={MODULE}").parse().unwrap() };
    let none = open(&uri("token=elsewhere;object=x"), "1234").err().unwrap().to_string();
    assert!(none.contains("no token of this label; there are [\"site\"]"), "{none}");
    let none = open(&uri("token=site;object=x"), "1234").err().unwrap().to_string();
    assert!(none.contains("0 keys of this label"), "{none}");
}
