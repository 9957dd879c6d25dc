//! Builds `programs` and leaves the object in `OUT_DIR`.

fn main() {
    gabion_kernel_build::embed(
        "gabion-testing-shared-programs",
        &[
            "abi/src",
            "abi/Cargo.toml",
            "abi/derive/src",
            "abi/shared/src",
            "abi/shared/Cargo.toml",
            "testing/shared/programs",
        ],
    );
}
