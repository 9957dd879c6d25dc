//! Builds `kernel/programs` and leaves the object in `OUT_DIR`.

fn main() {
    gabion_kernel_build::embed(
        "gabion-kernel-programs",
        &[
            "abi/src",
            "abi/Cargo.toml",
            "abi/derive/src",
            "kernel/core/src",
            "kernel/core/Cargo.toml",
            "kernel/programs",
        ],
    );
}
