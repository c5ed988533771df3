//! What is written on everything we make on a host, and read back from it. The host is the only record of what is there.

use std::collections::HashMap;

use deploymind_shared::ids::Epoch;

use crate::runtime::{AppRef, Launch, SlotName};

pub(super) const FLEET: &str = "deploymind.fleet";
pub(super) const ROLE: &str = "deploymind.role";
pub(super) const APP: &str = "deploymind.app";
pub(super) const APP_NAME: &str = "deploymind.app_name";
pub(super) const RELEASE: &str = "deploymind.release";
pub(super) const DEPLOYMENT: &str = "deploymind.deployment";
pub(super) const EPOCH: &str = "deploymind.epoch";
pub(super) const SLOT: &str = "deploymind.slot";
pub(super) const COPY: &str = "deploymind.copy";
pub(super) const ADDRESS: &str = "deploymind.address";
pub(super) const PORT: &str = "deploymind.port";
/// Of what it was made from, to tell whether it still is what it should be.
pub(super) const SPEC: &str = "deploymind.spec";

pub(super) const ROLE_SLOT: &str = "slot";
pub(super) const ROLE_EDGE: &str = "edge";

pub(super) type Labels = HashMap<String, String>;

pub(super) fn is_of(labels: Option<&Labels>, fleet: &str) -> bool {
    labels.and_then(|labels| labels.get(FLEET)).is_some_and(|label| label == fleet)
}

/// Of a network, a volume or the edge.
pub(super) fn of_fleet(fleet: &str, role: &str) -> Labels {
    HashMap::from([(FLEET.to_owned(), fleet.to_owned()), (ROLE.to_owned(), role.to_owned())])
}

pub(super) fn of_volume(fleet: &str, app: &AppRef) -> Labels {
    let mut labels = of_fleet(fleet, "volume");
    labels.insert(APP.to_owned(), app.id.to_string());
    labels.insert(APP_NAME.to_owned(), app.name.clone());
    labels
}

pub(super) fn of_copy(
    fleet: &str,
    epoch: Epoch,
    launch: &Launch,
    index: u16,
    address: &str,
    spec: &str,
) -> Labels {
    let mut labels = of_fleet(fleet, ROLE_SLOT);
    let mut put = |name: &str, value: String| labels.insert(name.to_owned(), value);
    put(APP, launch.app.id.to_string());
    put(APP_NAME, launch.app.name.clone());
    put(RELEASE, launch.release.to_string());
    put(DEPLOYMENT, launch.deployment.to_string());
    put(EPOCH, epoch.to_string());
    put(SLOT, launch.slot.0.clone());
    put(COPY, index.to_string());
    put(ADDRESS, address.to_owned());
    put(SPEC, spec.to_owned());
    if let Some(port) = launch.spec.port {
        put(PORT, port.to_string());
    }
    labels
}

/// Whether a container of this name is the copy of a slot that its labels say.
pub(super) fn is_copy(labels: &Labels, name: &str) -> bool {
    let slot = labels.get(SLOT).map(|slot| SlotName(slot.clone()));
    let index = labels.get(COPY).and_then(|index| index.parse().ok());
    slot.zip(index).is_some_and(|(slot, index)| slot.copy(index) == name)
}

/// As the engine's lists take it.
pub(super) fn filter(labels: &[(&str, &str)]) -> HashMap<String, Vec<String>> {
    let all = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    HashMap::from([("label".to_owned(), all)])
}

pub(super) fn by_slot(fleet: &str, slot: &SlotName) -> HashMap<String, Vec<String>> {
    filter(&[(FLEET, fleet), (ROLE, ROLE_SLOT), (SLOT, &slot.0)])
}
