//! Shapes of what a step keeps, for its entry in the plan.

use millpond_engine::Graph;
use millpond_state::{Data, Shape};

/// The shape of `T` under the name it has in the plan. A type that no checkpoint could hold is a refusal of the plan.
pub(crate) fn shape<T: Data>(graph: &Graph<'_>, step: &str, name: &str) -> (String, serde_json::Value) {
    let shape = Shape::of::<T>().unwrap_or_else(|error| {
        graph.refuse(format!("the {name} of a step of kind {step} cannot be written to a checkpoint: {error}"));
        Shape::Unknown
    });
    (name.to_owned(), serde_json::to_value(shape).expect("a shape is plain data"))
}
