//! `aquifer-bench`: see the library's documentation, or `--help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    aquifer_bench::main()
}
