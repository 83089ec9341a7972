//! The switches of a bundle, which are there as long as the machine runs.

use alloc::sync::Arc;
use alloc::vec::Vec;

use spin::Once;

use super::bundle::SwitchSpec;
use crate::net::switch::Switch;

static SWITCHES: Once<Vec<Arc<Switch>>> = Once::new();

/// Makes the switches, and plugs their uplinks in.
#[cfg(target_os = "none")]
pub fn start(specs: &[SwitchSpec]) {
    use crate::arch::aarch64::timer;
    use crate::net::Endpoint;
    use crate::net::switch::PortConfig;
    use crate::platform::{devices, entropy};

    let secret = || entropy::seed().and_then(|seed| seed.kaslr).unwrap_or_else(timer::now);
    init(specs, secret, timer::microseconds_since_boot);
    for (index, spec) in specs.iter().enumerate() {
        let (Some(switch), Some(name)) = (get(index), &spec.uplink) else { continue };
        let Some(card) = devices::nic(name) else {
            log::error!("switch {} has no uplink: there is no network card {name}", spec.name);
            continue;
        };
        let port = PortConfig { name: name.clone(), trusted: true, ..PortConfig::default() };
        let endpoint: Arc<dyn Endpoint> = card.clone();
        match switch.plug(port, Arc::downgrade(&endpoint)) {
            Ok(plug) => card.plug(plug),
            Err(error) => log::error!("switch {} has no uplink: {error}", spec.name),
        }
    }
}

/// Makes the switches. `secret` gives random numbers; `now` is the time in microseconds since boot.
pub fn init(specs: &[SwitchSpec], secret: impl Fn() -> u64, now: fn() -> u64) {
    SWITCHES.call_once(|| specs.iter().map(|_| Switch::new(secret(), now)).collect());
}

/// The switch of this index in the bundle.
pub fn get(index: usize) -> Option<&'static Arc<Switch>> {
    SWITCHES.get()?.get(index)
}
