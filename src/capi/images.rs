//! Images: pulled ahead of the boxes that want them, listed, looked at, removed.
//!
//! Owns copies of what the store says. What no box needs is `prune`'s.

use std::ffi::{CString, c_char};

use super::argument::{Out, c_string, field, free, live, optional_live, pointer, text};
use super::call::boxlite_call;
use super::error::{boxlite_code, boxlite_error};
use super::guard::{enter, value};
use super::runtime::boxlite_runtime;
use super::wait::{CutOff, Waiter};
use crate::errors::{BoxliteError, BoxliteResult, Detail};
use crate::images::{ImageStage, ProgressSink, PulledImage, StoredImage};

/// An image in a home's store at one moment. Read-only, so any number of threads may read it.
///
/// @ingroup image
pub struct boxlite_image {
    reference: CString,
    repository: CString,
    tag: Option<CString>,
    digest: CString,
    config_digest: CString,
    layers: Vec<CString>,
    size_bytes: u64,
    stored_at_ms: i64,
}

impl boxlite_image {
    fn new(image: &StoredImage) -> Self {
        Self {
            reference: c_string(image.reference.as_str()),
            repository: c_string(image.repository.as_str()),
            tag: image.tag.as_deref().map(c_string),
            digest: c_string(image.manifest_digest.to_string()),
            config_digest: c_string(image.config_digest.to_string()),
            layers: image.layers.iter().map(|layer| c_string(layer.digest.to_string())).collect(),
            size_bytes: image.size_bytes,
            stored_at_ms: image.created.timestamp_millis(),
        }
    }
}

/// The images of a home at one moment, the newest first. Read-only, so any number of threads may read it.
///
/// @ingroup image
pub struct boxlite_image_list {
    images: Vec<boxlite_image>,
}

/// Asks the image's source (a registry, or the local files that `reference` names) what the image is now, and fetches
/// what the store lacks: the next box made from it starts without the source. A box pulls by itself what is missing, so
/// this is for doing it ahead, or for getting a newer image under the same tag; boxes that were started keep the image
/// they have. `reference` is as for boxlite_box_options_set_image(), and is copied.
///
/// On success *image is new, which the caller frees with boxlite_image_free(); on failure NULL. Blocks; reports
/// progress. When `call`, which may be NULL, cuts it off, this caller leaves: others that wait for the same image go
/// on, and what was fetched stays for the next pull. Any thread. Errors: BOXLITE_NOT_FOUND; BOXLITE_NETWORK when the
/// registry cannot be reached or refuses; BOXLITE_IMAGE when the image is damaged, or not for this machine;
/// BOXLITE_INVALID_ARGUMENT when `runtime`, `reference` or `image` is NULL, or `reference` is malformed or not UTF-8;
/// BOXLITE_STORAGE; BOXLITE_RESOURCE_EXHAUSTED; BOXLITE_BUSY; BOXLITE_TIMEOUT; BOXLITE_CANCELLED; BOXLITE_STOPPED after
/// boxlite_runtime_shutdown(); BOXLITE_FORKED.
///
/// @ingroup image
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_image_pull(
    runtime: *mut boxlite_runtime,
    reference: *const c_char,
    call: *mut boxlite_call,
    image: *mut *mut boxlite_image,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a writable pointer.
        let out = unsafe { Out::new(image, "image") }?;
        // SAFETY: the caller passes NULL or a live runtime.
        let runtime = unsafe { live(runtime, "runtime") }?.inner.clone();
        // SAFETY: the caller passes NULL or a live call.
        let call = unsafe { optional_live(call, "call") }?;
        // SAFETY: the caller passes NULL or a C string.
        let reference = unsafe { text(reference, "reference") }?.to_owned();
        let images = runtime.images()?;
        let pulled: BoxliteResult<PulledImage> = Waiter::new("boxlite_image_pull", call, CutOff::Undo)
            .with_progress()
            .wait(&runtime.handle(), |control| async move {
                images.pull_with_progress(&reference, without_boot(control.sink)).await
            })?;
        out.fill(boxlite_image::new(pulled?.stored()));
        Ok(())
    })
}

/// A pull's last event is its end: no virtual machine comes after it, as the progress of a start would have it.
fn without_boot(sink: ProgressSink) -> ProgressSink {
    ProgressSink::new(move |event| {
        if event.stage != ImageStage::Done {
            sink.emit(event);
        }
    })
}

/// Finds an image in the store, without asking its source: by its reference, as for boxlite_image_pull(), or by its
/// digest or that of its config ("sha256:..."). `reference` is copied.
///
/// On success *image is new, which the caller frees with boxlite_image_free(); on failure NULL. Reads files, so it can
/// block; `call` may be NULL. Any thread. Errors: BOXLITE_NOT_FOUND when it is not stored, or not all of it;
/// BOXLITE_INVALID_ARGUMENT when `runtime`, `reference` or `image` is NULL, or `reference` is malformed or not UTF-8;
/// BOXLITE_STORAGE; BOXLITE_TIMEOUT; BOXLITE_CANCELLED; BOXLITE_STOPPED after boxlite_runtime_shutdown();
/// BOXLITE_FORKED.
///
/// @ingroup image
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_image_get(
    runtime: *mut boxlite_runtime,
    reference: *const c_char,
    call: *mut boxlite_call,
    image: *mut *mut boxlite_image,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a writable pointer.
        let out = unsafe { Out::new(image, "image") }?;
        // SAFETY: the caller passes NULL or a live runtime.
        let runtime = unsafe { live(runtime, "runtime") }?.inner.clone();
        // SAFETY: the caller passes NULL or a live call.
        let call = unsafe { optional_live(call, "call") }?;
        // SAFETY: the caller passes NULL or a C string.
        let reference = unsafe { text(reference, "reference") }?.to_owned();
        let images = runtime.images()?;
        let asked = reference.clone();
        let found: BoxliteResult<Option<StoredImage>> = Waiter::new("boxlite_image_get", call, CutOff::Undo)
            .wait(&runtime.handle(), |_| async move { images.get(&asked).await })?;
        let found = found?.ok_or_else(|| {
            BoxliteError::NotFound(
                Detail::new(format!("image {reference} is not stored"))
                    .subject(reference)
                    .hint("pull the image, or list what is stored"),
            )
        })?;
        out.fill(boxlite_image::new(&found));
        Ok(())
    })
}

/// Lists the complete images of the runtime's home, the one stored last first.
///
/// On success *list is a new list, which the caller frees with boxlite_image_list_free(); on failure NULL. Reads files,
/// so it can block; `call` may be NULL. Any thread. Errors: BOXLITE_INVALID_ARGUMENT when `runtime` or `list` is NULL;
/// BOXLITE_STORAGE; BOXLITE_TIMEOUT; BOXLITE_CANCELLED; BOXLITE_STOPPED after boxlite_runtime_shutdown();
/// BOXLITE_FORKED.
///
/// @ingroup image
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_runtime_images(
    runtime: *mut boxlite_runtime,
    call: *mut boxlite_call,
    list: *mut *mut boxlite_image_list,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a writable pointer.
        let out = unsafe { Out::new(list, "list") }?;
        // SAFETY: the caller passes NULL or a live runtime.
        let runtime = unsafe { live(runtime, "runtime") }?.inner.clone();
        // SAFETY: the caller passes NULL or a live call.
        let call = unsafe { optional_live(call, "call") }?;
        let images = runtime.images()?;
        let all: BoxliteResult<Vec<StoredImage>> = Waiter::new("boxlite_runtime_images", call, CutOff::Undo)
            .wait(&runtime.handle(), |_| async move { images.list_stored().await })?;
        out.fill(boxlite_image_list { images: all?.iter().map(boxlite_image::new).collect() });
        Ok(())
    })
}

/// Removes an image from the store, by its reference or digest, with all that no other image needs. One that boxes of
/// this home were started from is refused, unless `force` is not 0: boxes that run keep it until they stop, and their
/// next start pulls it again. `reference` is copied.
///
/// Blocks; when `call`, which may be NULL, cuts it off, the call returns BOXLITE_TIMEOUT or BOXLITE_CANCELLED and the
/// removal goes on. Any thread. Errors besides: BOXLITE_NOT_FOUND; BOXLITE_INVALID_STATE when boxes use it (the message
/// names them); BOXLITE_INVALID_ARGUMENT when `runtime` or `reference` is NULL, or `reference` is malformed or not UTF-8;
/// BOXLITE_STORAGE; BOXLITE_DATABASE; BOXLITE_BUSY; BOXLITE_STOPPED after boxlite_runtime_shutdown(); BOXLITE_FORKED.
///
/// @ingroup image
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_image_remove(
    runtime: *mut boxlite_runtime,
    reference: *const c_char,
    force: i32,
    call: *mut boxlite_call,
    error: *mut *mut boxlite_error,
) -> boxlite_code {
    enter(error, || {
        // SAFETY: the caller passes NULL or a live runtime.
        let runtime = unsafe { live(runtime, "runtime") }?.inner.clone();
        // SAFETY: the caller passes NULL or a live call.
        let call = unsafe { optional_live(call, "call") }?;
        // SAFETY: the caller passes NULL or a C string.
        let reference = unsafe { text(reference, "reference") }?.to_owned();
        let images = runtime.images()?;
        Waiter::new("boxlite_image_remove", call, CutOff::Leave)
            .wait(&runtime.handle(), |_| async move { images.remove(&reference, force != 0).await })?
    })
}

/// The image's full reference, such as "docker.io/library/alpine:latest". Valid until the image is freed; NULL when
/// `image` is NULL. Any thread; does not block.
///
/// @ingroup image
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_image_reference(image: *const boxlite_image) -> *const c_char {
    // SAFETY: the caller passes NULL or a live image.
    unsafe { field(image, std::ptr::null(), |image| image.reference.as_ptr()) }
}

/// The reference without tag and digest. Valid until the image is freed; NULL when `image` is NULL. Any thread; does
/// not block.
///
/// @ingroup image
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_image_repository(image: *const boxlite_image) -> *const c_char {
    // SAFETY: the caller passes NULL or a live image.
    unsafe { field(image, std::ptr::null(), |image| image.repository.as_ptr()) }
}

/// The image's tag. Valid until the image is freed; NULL when it was pulled by digest alone or `image` is NULL. Any
/// thread; does not block.
///
/// @ingroup image
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_image_tag(image: *const boxlite_image) -> *const c_char {
    // SAFETY: the caller passes NULL or a live image.
    unsafe { field(image, std::ptr::null(), |image| pointer(image.tag.as_ref())) }
}

/// The digest of the image's manifest for this machine, such as "sha256:9f86…": what it is, whatever it is called.
/// Valid until the image is freed; NULL when `image` is NULL. Any thread; does not block.
///
/// @ingroup image
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_image_digest(image: *const boxlite_image) -> *const c_char {
    // SAFETY: the caller passes NULL or a live image.
    unsafe { field(image, std::ptr::null(), |image| image.digest.as_ptr()) }
}

/// The digest of the image's config. Valid until the image is freed; NULL when `image` is NULL. Any thread; does not
/// block.
///
/// @ingroup image
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_image_config_digest(image: *const boxlite_image) -> *const c_char {
    // SAFETY: the caller passes NULL or a live image.
    unsafe { field(image, std::ptr::null(), |image| image.config_digest.as_ptr()) }
}

/// How many layers the image has; 0 when `image` is NULL. Any thread; does not block.
///
/// @ingroup image
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_image_layer_len(image: *const boxlite_image) -> usize {
    // SAFETY: the caller passes NULL or a live image.
    unsafe { field(image, 0, |image| image.layers.len()) }
}

/// The digest of layer `index`, the lowest first. Valid until the image is freed; NULL when `index` is out of range or
/// `image` is NULL. Any thread; does not block.
///
/// @ingroup image
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_image_layer_digest(
    image: *const boxlite_image,
    index: usize,
) -> *const c_char {
    // SAFETY: the caller passes NULL or a live image.
    unsafe { field(image, std::ptr::null(), |image| pointer(image.layers.get(index))) }
}

/// Bytes of the image's config and layers as stored, without the disk that is made of them; 0 when `image` is NULL. Any
/// thread; does not block.
///
/// @ingroup image
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_image_size_bytes(image: *const boxlite_image) -> u64 {
    // SAFETY: the caller passes NULL or a live image.
    unsafe { field(image, 0, |image| image.size_bytes) }
}

/// When the image was stored under its reference, in milliseconds since 1970-01-01 UTC; -1 when `image` is NULL. Any
/// thread; does not block.
///
/// @ingroup image
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_image_stored_at_ms(image: *const boxlite_image) -> i64 {
    // SAFETY: the caller passes NULL or a live image.
    unsafe { field(image, -1, |image| image.stored_at_ms) }
}

/// Frees an image that was returned to the caller, not one lent by a list; the store is not touched. Does nothing when
/// `image` is NULL. Any thread; does not block.
///
/// @ingroup image
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_image_free(image: *mut boxlite_image) {
    // SAFETY: the caller passes NULL or an image it has not freed yet.
    value((), || unsafe { free(image) });
}

/// How many images the list holds; 0 when `list` is NULL. Any thread; does not block.
///
/// @ingroup image
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_image_list_len(list: *const boxlite_image_list) -> usize {
    // SAFETY: the caller passes NULL or a live list.
    unsafe { field(list, 0, |list| list.images.len()) }
}

/// Image `index` of the list. Lent: valid until the list is freed, never freed by itself; NULL when `index` is out of
/// range or `list` is NULL. Any thread; does not block.
///
/// @ingroup image
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_image_list_at(
    list: *const boxlite_image_list,
    index: usize,
) -> *const boxlite_image {
    let lend =
        |list: &boxlite_image_list| list.images.get(index).map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the caller passes NULL or a live list.
    unsafe { field(list, std::ptr::null(), lend) }
}

/// Frees a list and all images it lent. Does nothing when `list` is NULL. Any thread; does not block.
///
/// @ingroup image
#[unsafe(no_mangle)]
pub unsafe extern "C" fn boxlite_image_list_free(list: *mut boxlite_image_list) {
    // SAFETY: the caller passes NULL or a list it has not freed yet.
    value((), || unsafe { free(list) });
}
