//! Shapes of what a step keeps, for its entry in the plan.

use millpond_engine::{Graph, Upgrade};
use millpond_state::{Data, Shape};

use crate::aggregate::{Aggregate, Stored};

/// The shape of `T` under the name it has in the plan. A type that no checkpoint could hold is a refusal of the plan.
pub(crate) fn shape<T: Data>(graph: &Graph<'_>, step: &str, name: &str) -> (String, serde_json::Value) {
    let shape = Shape::of::<T>().unwrap_or_else(|error| {
        graph.refuse(format!("the {name} of a step of kind {step} cannot be written to a checkpoint: {error}"));
        Shape::Unknown
    });
    (name.to_owned(), serde_json::to_value(shape).expect("a shape is plain data"))
}

/// What an aggregate takes from others, of a step that stores partials so. What cannot be is a refusal of the plan.
pub(crate) fn taken<S: Stored, T, A: Aggregate<T>>(graph: &Graph<'_>, aggregate: &A) -> Vec<Upgrade> {
    let upgrades = aggregate.upgrades::<S>();
    upgrades.refused.into_iter().for_each(|reason| graph.refuse(reason));
    upgrades.all
}
