//! The path from layers, or a directory, to an image disk: what goes in is read back from the disk and compared.
//!
//! Owns tests of `boxlite::disk::layers` from outside; real images are compared in `image_fidelity`.

mod bad_input;
mod content;
mod directory;
mod formats;
mod layering;
mod limits;
mod model;
mod paths;
mod stacks;
mod support;
