//! Image to disk, against `tar -xzf` of the same layers into a directory: pairs in one run, medians to a JSON file.
//!
//! Usage: `image LAYOUT OUT.json [ROUNDS]`, an OCI layout of gzip layers. Each side is a process started anew, writes
//! to the file system of OUT.json, reads blobs that are in the page cache, and starts with nothing left to write back.

#[path = "support/figures.rs"]
mod figures;

use std::error::Error;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use boxlite::disk::layers::{BuildLimits, LayerCompression, LayerSource, build_image_disk};
use figures::{median, round};
use serde_json::{Value, json};

const BUILD: &str = "--build";
const ROUNDS: usize = 9;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    // Cargo adds `--bench`.
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [BUILD, layout, disk] => build(Path::new(layout), Path::new(disk)),
        [layout, out] => compare(Path::new(layout), Path::new(out), ROUNDS),
        [layout, out, rounds] => compare(Path::new(layout), Path::new(out), rounds.parse()?),
        _ => Err("usage: image LAYOUT OUT.json [ROUNDS]".into()),
    }
}

/// One side of a pair, in a process of its own: builds the disk, prints its peak memory in KiB and the disk's size.
fn build(layout: &Path, disk: &Path) -> Result<()> {
    let layers = layers(layout)?;
    let report =
        build_image_disk(&layers, disk, &BuildLimits::default(), &mut |_| ControlFlow::Continue(()))?;
    let status = fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    println!("{} {}", peak.trim_end_matches("kB").trim(), report.image_bytes);
    Ok(())
}

fn compare(layout: &Path, out: &Path, rounds: usize) -> Result<()> {
    let layers = layers(layout)?;
    if layers.iter().any(|layer| layer.compression != LayerCompression::Gzip) {
        return Err("tar -xzf takes gzip layers only".into());
    }
    let parent = out.parent().ok_or("the result needs a directory")?;
    fs::create_dir_all(parent)?;
    let work = tempfile::tempdir_in(parent)?;
    let compressed: u64 =
        layers.iter().map(|layer| fs::read(&layer.path).map_or(0, |blob| blob.len() as u64)).sum();
    let (mut ours, mut theirs, mut peak, mut image_bytes) = (Vec::new(), Vec::new(), 0, 0);
    for round in 0..=rounds {
        let disk = work.path().join("disk");
        run("sync", &mut Command::new("sync"))?;
        let start = Instant::now();
        let child = Command::new(std::env::current_exe()?).arg(BUILD).arg(layout).arg(&disk).output()?;
        let our_time = start.elapsed();
        if !child.status.success() {
            return Err(String::from_utf8_lossy(&child.stderr).into());
        }
        let words = String::from_utf8(child.stdout)?;
        let (kib, bytes) = words.trim().split_once(' ').ok_or("no numbers from the build")?;
        (peak, image_bytes) = (peak.max(kib.parse::<u64>()?), bytes.parse::<u64>()?);
        fs::remove_file(&disk)?;

        let tree = work.path().join("tree");
        fs::create_dir(&tree)?;
        run("sync", &mut Command::new("sync"))?;
        let start = Instant::now();
        for layer in &layers {
            run("tar", Command::new("tar").arg("-xzf").arg(&layer.path).arg("-C").arg(&tree))?;
        }
        let their_time = start.elapsed();
        fs::remove_dir_all(&tree)?;
        // The first pair warms both sides up.
        if round > 0 {
            ours.push(our_time.as_secs_f64());
            theirs.push(their_time.as_secs_f64());
        }
    }
    let (ours_s, tar_s) = (median(&mut ours), median(&mut theirs));
    let result = json!({
        "ours_s": round(ours_s),
        "tar_s": round(tar_s),
        "ratio": round(ours_s / tar_s),
        "peak_rss_mb": round(peak as f64 / 1024.0),
        "rounds": rounds,
        "compressed_mb": compressed >> 20,
        "image_mb": image_bytes >> 20,
    });
    fs::write(out, serde_json::to_string_pretty(&result)? + "\n")?;
    println!("{result}");
    Ok(())
}

fn run(name: &str, command: &mut Command) -> Result<()> {
    let status = command.stdin(Stdio::null()).status().map_err(|error| format!("{name}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{name}: {status}").into()) }
}

fn layers(layout: &Path) -> Result<Vec<LayerSource>> {
    let read = |path: PathBuf| -> Result<Value> { Ok(serde_json::from_slice(&fs::read(path)?)?) };
    let blob = |digest: &Value| -> Result<PathBuf> {
        Ok(layout.join("blobs").join(digest.as_str().ok_or("no digest")?.replace(':', "/")))
    };
    let index = read(layout.join("index.json"))?;
    let manifest = read(blob(&index["manifests"][0]["digest"])?)?;
    let layers = manifest["layers"].as_array().ok_or("no layers")?;
    layers
        .iter()
        .map(|layer| {
            let gzip = layer["mediaType"].as_str().is_some_and(|kind| kind.ends_with("gzip"));
            Ok(LayerSource {
                path: blob(&layer["digest"])?,
                compression: if gzip { LayerCompression::Gzip } else { LayerCompression::None },
                diff_id: None,
                label: layer["digest"].to_string(),
            })
        })
        .collect()
}
