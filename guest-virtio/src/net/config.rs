//! The configuration space of a network card (virtio 1.2 §5.1.4).

use super::Nic;
use virtio_spec::net::S;

/// Bytes up to the last field that is used.
const SIZE: usize = 12;

/// struct virtio_net_config, little-endian, as far as a card has fields: without MQ there is no max_virtqueue_pairs.
pub(super) const fn encode(nic: &Nic) -> [u8; SIZE] {
    let [a, b, c, d, e, f] = nic.mac;
    let [status, status_high] = if nic.link_up { S::LINK_UP.bits().to_ne().to_le_bytes() } else { [0; 2] };
    let [mtu, mtu_high] = nic.mtu.to_le_bytes();
    [a, b, c, d, e, f, status, status_high, 0, 0, mtu, mtu_high]
}
