//! Builds `programs` and leaves the object in `OUT_DIR`.

fn main() {
    gabion_kernel_build::embed(
        "gabion-testing-peers-programs",
        &["abi/src", "abi/derive/src", "kernel/core/src", "testing/peers/programs"],
    );
}
