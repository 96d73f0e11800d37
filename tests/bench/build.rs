//! Lets the benchmark find at run time the librdkafka that it was linked with.

fn main() {
    #[cfg(feature = "librdkafka")]
    load_from_where_it_was_found();
}

#[cfg(feature = "librdkafka")]
fn load_from_where_it_was_found() {
    let found = pkg_config::Config::new().cargo_metadata(false).probe("rdkafka");
    let library = found.unwrap_or_else(|error| {
        panic!("run `tests/bench/run`, which installs librdkafka and sets PKG_CONFIG_PATH ({error})")
    });
    for directory in library.link_paths {
        println!("cargo::rustc-link-arg=-Wl,-rpath,{}", directory.display());
    }
}
