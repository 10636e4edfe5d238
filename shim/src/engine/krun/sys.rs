//! The functions of libkrun that the engine calls, as libkrun 1.19 declares them in C.
//!
//! Owns declarations, and which libkrun is linked: the bundled crate, or with the cargo feature `system-libkrun` the
//! distribution's library. Declared once for both, so that the two can't differ.

use std::ffi::{c_char, c_int};

#[cfg(not(any(feature = "bundled-libkrun", feature = "system-libkrun")))]
compile_error!("choose a libkrun: the feature bundled-libkrun (default) or system-libkrun");

// Named for what they link alone.
#[cfg(feature = "bundled-libkrun")]
use krun as _;
#[cfg(feature = "system-libkrun")]
use krun_sys as _;

unsafe extern "C" {
    pub(super) fn krun_init_log(target: c_int, level: u32, style: u32, options: u32) -> i32;
    pub(super) fn krun_create_ctx() -> i32;
    pub(super) fn krun_set_vm_config(ctx: u32, cpus: u8, memory_mib: u32) -> i32;
    pub(super) fn krun_disable_implicit_init(ctx: u32) -> i32;
    pub(super) fn krun_disable_implicit_vsock(ctx: u32) -> i32;
    pub(super) fn krun_add_vsock(ctx: u32, tsi_features: u32) -> i32;
    pub(super) fn krun_add_vsock_port2(ctx: u32, port: u32, path: *const c_char, listen: bool) -> i32;
    pub(super) fn krun_add_virtiofs4(
        ctx: u32,
        tag: *const c_char,
        path: *const c_char,
        shm_bytes: u64,
        read_only: bool,
        semantics: u32,
    ) -> i32;
    pub(super) fn krun_fs_add_overlay_dir(
        ctx: u32,
        tag: *const c_char,
        path: *const c_char,
        mode: u32,
    ) -> i32;
    pub(super) fn krun_fs_add_overlay_file(
        ctx: u32,
        tag: *const c_char,
        path: *const c_char,
        data: *const u8,
        bytes: usize,
        mode: u32,
        one_shot: bool,
    ) -> i32;
    pub(super) fn krun_add_disk3(
        ctx: u32,
        id: *const c_char,
        path: *const c_char,
        format: u32,
        read_only: bool,
        direct_io: bool,
        sync_mode: u32,
    ) -> i32;
    pub(super) fn krun_set_console_output(ctx: u32, path: *const c_char) -> i32;
    pub(super) fn krun_set_env(ctx: u32, list: *const *const c_char) -> i32;
    pub(super) fn krun_start_enter(ctx: u32) -> i32;
}
