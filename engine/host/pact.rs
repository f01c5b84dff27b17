//! How batches travel inside timely: as whole containers. A shipment is made for one worker and pushed to it as it is; timely's progress
//! tracking counts it by its rows.

use millpond_state::Data;
use serde::{Serialize, de::DeserializeOwned};
use timely::Accountable;
use timely::bytes::arc::Bytes;
use timely::communication::Push;
use timely::dataflow::channels::pushers::exchange::Distributor;
use timely::dataflow::channels::{ContainerBytes, Message};

use crate::{Batch, Shipment};

impl<T> Accountable for Batch<T> {
    fn record_count(&self) -> i64 {
        self.rows.len() as i64
    }
}

impl<K, V> Accountable for Shipment<K, V> {
    fn record_count(&self) -> i64 {
        self.rows.len() as i64
    }
}

/// Sends each shipment to the worker it names.
pub(crate) struct ToWorker;

impl<K, V> Distributor<Shipment<K, V>> for ToWorker {
    fn partition<T: Clone, P: Push<Message<T, Shipment<K, V>>>>(
        &mut self,
        shipment: &mut Shipment<K, V>,
        time: &T,
        pushers: &mut [P],
    ) {
        let worker = shipment.worker as usize;
        Message::push_at(shipment, time.clone(), &mut pushers[worker]);
    }
    fn flush<T: Clone, P: Push<Message<T, Shipment<K, V>>>>(&mut self, _: &T, _: &mut [P]) {}
}

impl<K: Data, V: Data> ContainerBytes for Shipment<K, V> {
    fn from_bytes(bytes: Bytes) -> Self {
        from_bytes(&bytes)
    }
    fn length_in_bytes(&self) -> usize {
        length_in_bytes(self)
    }
    fn into_bytes<W: std::io::Write>(&self, writer: &mut W) {
        into_bytes(self, writer);
    }
}

// Between processes a container is its bincode encoding, padded to eight bytes as timely asks.
fn from_bytes<C: DeserializeOwned>(bytes: &[u8]) -> C {
    bincode::deserialize(bytes).expect("a peer of the same build encoded this container")
}

fn length_in_bytes<C: Serialize>(container: &C) -> usize {
    let length = bincode::serialized_size(container).expect("data serialises") as usize;
    (length + 7) & !7
}

fn into_bytes<C: Serialize, W: std::io::Write>(container: &C, writer: &mut W) {
    let mut bytes = bincode::serialize(container).expect("data serialises");
    bytes.resize((bytes.len() + 7) & !7, 0);
    writer.write_all(&bytes).expect("timely sized this buffer by `length_in_bytes`");
}
