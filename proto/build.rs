//! Generates the ttrpc service and its messages from `agent.proto`, without protoc, and the build id from this
//! crate's sources: library, shim and guest agent carry the same one exactly when they speak the same wire.
use std::{env, fs, path::PathBuf};
use ttrpc_codegen::{Codegen, Customize, ProtobufCustomize};

/// 64-bit FNV-1a (Fowler, Noll, Vo): tells builds apart, guards against nothing else.
fn fnv1a(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=src");
    println!("cargo:rerun-if-changed=build.rs");
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    Codegen::new()
        .out_dir(&out_dir)
        .input("src/agent.proto")
        .include("src")
        .rust_protobuf()
        .rust_protobuf_customize(ProtobufCustomize::default().gen_mod_rs(false))
        .customize(Customize { async_all: true, gen_mod: false, ..Default::default() })
        .run()?;
    // The generated files begin with inner attributes, so they must be modules of their own files.
    fs::write(out_dir.join("mod.rs"), "pub mod agent;\npub mod agent_ttrpc;\n")?;

    let mut sources: Vec<PathBuf> =
        fs::read_dir("src")?.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>()?;
    sources.sort();
    let mut hash = 0xcbf2_9ce4_8422_2325;
    for source in sources {
        hash = fnv1a(hash, &fs::read(source)?);
    }
    println!("cargo:rustc-env=BOXLITE_BUILD_ID={}-{hash:016x}", env::var("CARGO_PKG_VERSION")?);
    Ok(())
}
