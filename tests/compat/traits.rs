//! The traits callers build on: what may be cloned, printed, compared, stored, and sent to other threads.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt::{Debug, Display};
use std::hash::Hash;

use boxlite::litebox::{ExecStderr, ExecStdin, ExecStdout};
use boxlite::runtime::advanced_options::{AdvancedBoxOptions, HealthCheckOptions, SecurityOptions};
use boxlite::runtime::options::{
    BoxOptions, BoxliteOptions, ImageRegistry, ImageRegistryAuth, NetworkSpec, PortProtocol, PortSpec,
    RegistryTransport, RootfsSpec, Secret, VolumeSpec,
};
use boxlite::runtime::types::{BoxInfo, BoxStatus, Bytes, HealthStatus, ImageInfo};
use boxlite::util::{PidFileReader, PidRecord};
use boxlite::{
    BoxCommand, BoxID, BoxIDMint, BoxliteError, BoxliteRuntime, ExecResult, Execution, HealthState,
    ImageHandle, LiteBox,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

fn shared<T: Send + Sync + 'static>() {}
fn plain<T: Clone + Debug + Send + Sync + 'static>() {}
fn stored<T: Clone + Debug + Serialize + DeserializeOwned>() {}
fn defaulted<T: Default>() {}
fn compared<T: Eq>() {}
fn copied<T: Copy>() {}

#[test]
fn types_have_the_traits_callers_build_on() {
    plain::<BoxliteRuntime>();
    plain::<BoxCommand>();
    plain::<ExecResult>();
    plain::<PidFileReader>();
    plain::<PidRecord>();
    shared::<LiteBox>();
    shared::<Execution>();
    shared::<ImageHandle>();
    shared::<ExecStdin>();
    shared::<ExecStdout>();
    shared::<ExecStderr>();
    shared::<BoxIDMint>();
    let _: fn(&Execution) -> Execution = Clone::clone;
    let _: fn(&ImageHandle) -> ImageHandle = Clone::clone;

    stored::<BoxliteOptions>();
    stored::<BoxOptions>();
    stored::<RootfsSpec>();
    stored::<VolumeSpec>();
    stored::<PortSpec>();
    stored::<PortProtocol>();
    stored::<NetworkSpec>();
    stored::<Secret>();
    stored::<ImageRegistry>();
    stored::<ImageRegistryAuth>();
    stored::<RegistryTransport>();
    stored::<AdvancedBoxOptions>();
    stored::<SecurityOptions>();
    stored::<HealthCheckOptions>();
    stored::<BoxInfo>();
    stored::<BoxID>();
    stored::<BoxStatus>();
    stored::<HealthStatus>();
    stored::<HealthState>();
    stored::<ImageInfo>();
    stored::<Bytes>();

    defaulted::<BoxliteOptions>();
    defaulted::<BoxOptions>();
    defaulted::<RootfsSpec>();
    defaulted::<VolumeSpec>();
    defaulted::<PortSpec>();
    defaulted::<NetworkSpec>();
    defaulted::<AdvancedBoxOptions>();
    defaulted::<SecurityOptions>();
    defaulted::<HealthCheckOptions>();
    defaulted::<ImageRegistryAuth>();
    defaulted::<RegistryTransport>();
    defaulted::<HealthStatus>();

    compared::<BoxID>();
    compared::<BoxStatus>();
    compared::<ImageRegistry>();
    compared::<HealthStatus>();
    compared::<PidRecord>();
    copied::<BoxStatus>();
    copied::<HealthStatus>();
    copied::<HealthState>();
    copied::<Bytes>();
    copied::<PidRecord>();

    fn error<T: std::error::Error + Send + Sync + 'static>() {}
    error::<BoxliteError>();
    fn id<T: Display + Debug + Hash + AsRef<str> + Borrow<str>>() {}
    id::<BoxID>();
    fn status<T: Display + Hash + std::str::FromStr>() {}
    status::<BoxStatus>();
    fn secret<T: Display + PartialEq>() {}
    secret::<Secret>();
}

#[test]
fn a_map_keyed_by_id_is_asked_by_text() {
    let id = BoxIDMint::mint();
    let by_id = HashMap::from([(id.clone(), 1)]);
    assert_eq!(by_id.get(id.as_str()), Some(&1));
    assert_eq!((id.as_str().len(), id.short().len()), (BoxIDMint::MINT_LENGTH, BoxID::SHORT_LENGTH));
    assert!(id.starts_with(id.short()) && BoxID::is_valid(id.as_str()) && !BoxID::is_valid(""));
}
