//! Builds `programs` and leaves the object in `OUT_DIR`.

fn main() {
    gabion_kernel_build::embed("gabion-testing-views-programs", &["btf/view", "testing/views/programs"]);
}
