//! Compiles `kernels/*.cu` as C++, together with the shim that runs them.
//!
//! A machine without a C++ compiler builds the crate all the same, with the configuration
//! `no_kernels`. `PASTEBANK_SANITIZE=1` compiles with AddressSanitizer and UBSan.

mod scan;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    println!("cargo:rustc-check-cfg=cfg(no_kernels)");
    println!("cargo:rerun-if-env-changed=PASTEBANK_SANITIZE");
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap());
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap());
    let kernels = here.parent().unwrap().to_path_buf();
    let sources = sources(&kernels, &here.join("tests"));
    // All files in it, this crate's too.
    println!("cargo:rerun-if-changed={}", kernels.display());
    if let Err(why) = can_compile(&here, &out) {
        println!("cargo:warning=the kernels are not compiled and their tests skipped: {why}");
        println!("cargo:rustc-cfg=no_kernels");
        return;
    }
    compile(&kernels, &here, &out, &sources);
}

/// The kernels' files and headers, and the kernels that test the shim.
fn sources(kernels: &Path, tests: &Path) -> Vec<PathBuf> {
    let files = |folder: &Path| {
        let entries = fs::read_dir(folder).unwrap();
        entries
            .map(|entry| entry.unwrap().path())
            .collect::<Vec<_>>()
    };
    let mut sources = files(kernels);
    sources.extend(files(tests));
    sources.retain(|path| {
        path.extension()
            .is_some_and(|end| end == "cu" || end == "cuh")
    });
    sources.sort();
    sources
}

/// The compiler's settings that all files share.
fn compiler(here: &Path) -> cc::Build {
    let mut build = cc::Build::new();
    build
        .cpp(true)
        .std("c++17")
        .cpp_link_stdlib(None)
        .include(here)
        .include(here.parent().unwrap())
        .opt_level(2)
        .debug(true)
        .pic(true)
        .warnings(true)
        .extra_warnings(true)
        .flag("-fno-exceptions")
        .flag("-fno-rtti")
        // Device memory has no types: the same bytes are read as bytes and as words.
        .flag("-fno-strict-aliasing");
    if sanitize() {
        build
            .flag("-fsanitize=address,undefined")
            .flag("-fno-sanitize=vptr")
            .flag("-fno-sanitize-recover=all")
            .flag("-fsanitize-sections=shim_shared")
            .flag("-fno-omit-frame-pointer");
    }
    build
}

fn sanitize() -> bool {
    env::var("PASTEBANK_SANITIZE").is_ok_and(|value| value == "1")
}

/// Whether there is a compiler that does what the shim needs, asked with a file of one line: an
/// error in any other file is an error and no reason to skip tests.
fn can_compile(here: &Path, out: &Path) -> Result<(), String> {
    let target = |name| env::var(format!("CARGO_CFG_TARGET_{name}")).unwrap_or_default();
    if target("OS") != "linux" || target("POINTER_WIDTH") != "64" {
        return Err("they are compiled for 64-bit Linux only".to_owned());
    }
    let probe = out.join("probe.cpp");
    fs::write(&probe, "#include <sys/mman.h>\n#include <ucontext.h>\n").unwrap();
    let result = compiler(here)
        .cargo_metadata(false)
        .file(probe)
        .try_compile("probe");
    match result {
        Err(error) if sanitize() => panic!("no compiler for PASTEBANK_SANITIZE=1: {error}"),
        result => result.map_err(|error| error.to_string().lines().next().unwrap_or("").to_owned()),
    }
}

fn compile(kernels: &Path, here: &Path, out: &Path, sources: &[PathBuf]) {
    let mut build = compiler(here);
    build
        .flag("-include")
        .flag(here.join("shim.h").to_str().unwrap())
        .flag("-Wno-unknown-pragmas")
        .flag("-Wno-unused-function")
        .warnings_into_errors(true);
    let mut names = Vec::new();
    for source in sources
        .iter()
        .filter(|path| path.extension().unwrap() == "cu")
    {
        let found = scan::kernels(&fs::read_to_string(source).unwrap());
        let wrapper = out.join(source.file_name().unwrap()).with_extension("cpp");
        fs::write(&wrapper, wrap(source, &found)).unwrap();
        build.file(wrapper);
        names.extend(found.into_iter().map(|kernel| kernel.name));
    }
    let tables = out.join("tables.cpp");
    fs::write(&tables, table_file(&kernels.join("layout.cuh"), &names)).unwrap();
    build.file(tables).file(here.join("shim.cpp"));
    build.compile("pastebank_kernels");
    if sanitize() {
        // The libraries come with g++. AddressSanitizer's must be the first that is loaded, which
        // it is, since a binary names those of its crates before those of the system.
        println!("cargo:rustc-link-lib=dylib=asan");
        println!("cargo:rustc-link-lib=dylib=ubsan");
    }
}

/// A kernel file, and an entry for each kernel in it. All names of the file are its own.
fn wrap(source: &Path, kernels: &[scan::Kernel]) -> String {
    let mut text = format!("namespace {{\n#include \"{}\"\n}}\n", source.display());
    for scan::Kernel { name, bounds } in kernels {
        write!(
            text,
            "extern const shim::Kernel shim_kernel_{name};\n\
             const shim::Kernel shim_kernel_{name} = {{\"{name}\", shim::Entry<&{name}>::run, \
             shim::Entry<&{name}>::bytes, shim::bounds({bounds})}};\n"
        )
        .unwrap();
    }
    text
}

/// The list of all kernels, and sizes, offsets and values of all that `layout.cuh` defines.
fn table_file(layout: &Path, kernels: &[String]) -> String {
    let mut text = String::new();
    for name in kernels {
        writeln!(text, "extern const shim::Kernel shim_kernel_{name};").unwrap();
    }
    text += "extern const shim::Kernel *const shim_kernels[];\n\
             const shim::Kernel *const shim_kernels[] = {\n";
    for name in kernels {
        writeln!(text, "  &shim_kernel_{name},").unwrap();
    }
    text += "};\n";
    let header = fs::read_to_string(layout).unwrap_or_default();
    if !header.is_empty() {
        writeln!(
            text,
            "#include <stddef.h>\n#include \"{}\"",
            layout.display()
        )
        .unwrap();
    }
    let entries = scan::layout(&header);
    text += "extern const shim::LayoutEntry shim_layout[];\n\
             const shim::LayoutEntry shim_layout[] = {\n";
    for (name, expression) in &entries {
        writeln!(text, "  {{\"{name}\", {expression}}},").unwrap();
    }
    text += "  {nullptr, 0}};\n";
    write!(
        text,
        "extern const size_t shim_kernel_count, shim_layout_count;\n\
         const size_t shim_kernel_count = {};\nconst size_t shim_layout_count = {};\n",
        kernels.len(),
        entries.len()
    )
    .unwrap();
    text
}
