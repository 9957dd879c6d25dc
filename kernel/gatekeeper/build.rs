//! Builds `programs` and leaves the object in `OUT_DIR`.

fn main() {
    gabion_kernel_build::embed(
        "gabion-gatekeeper-programs",
        &["abi/src", "abi/Cargo.toml", "abi/derive/src", "btf/view", "kernel/gatekeeper/programs"],
    );
}
