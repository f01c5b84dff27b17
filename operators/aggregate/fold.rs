//! An aggregate by three functions.

use millpond_state::Data;

use super::{Aggregate, Logged};

/// One's own aggregate by an initial value and two functions; see [`super::Over::fold`].
#[must_use = "an aggregate does nothing until `.aggregate(..)` returns it"]
pub struct Fold<A, F, M> {
    init: A,
    add: F,
    merge: M,
    commutes: bool,
}

impl<A: std::fmt::Debug, F, M> std::fmt::Debug for Fold<A, F, M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fold").field("init", &self.init).field("commutes", &self.commutes).finish_non_exhaustive()
    }
}

impl<A, F, M> Fold<A, F, M> {
    pub(super) fn new(init: A, add: F, merge: M) -> Self {
        Fold { init, add, merge, commutes: false }
    }

    /// Promises that the order in which records are added and partials merged does not change the answer, which nothing can check.
    /// Without it the plan says that the answer may depend on order.
    pub fn commutes(self) -> Self {
        Fold { commutes: true, ..self }
    }
}

impl<T: 'static, A: Data, F: Fn(&mut A, &T) + 'static, M: Fn(&mut A, A) + 'static> Aggregate<T> for Fold<A, F, M> {
    type Partial = A;
    type Output = A;

    #[inline]
    fn init(&self) -> A {
        self.init.clone()
    }
    #[inline]
    fn add(&self, partial: &mut A, record: &Logged<'_, T>) {
        (self.add)(partial, record.value);
    }
    #[inline]
    fn merge(&self, partial: &mut A, other: A) {
        (self.merge)(partial, other);
    }
    #[inline]
    fn finish(&self, partial: A) -> A {
        partial
    }
    fn order_dependent(&self) -> bool {
        !self.commutes
    }
    fn describe(&self) -> String {
        if self.commutes { "fold" } else { "fold (order-dependent unless it commutes)" }.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Aggregate, Over, trial};

    #[test]
    fn folds_with_the_users_functions() {
        trial::agrees(
            || Over::<i64>::new().fold(0i64, |sum, n| *sum += n * n, |sum, other| *sum += other),
            |rows| rows.iter().map(|row| row.value * row.value).sum(),
        );
    }

    #[test]
    fn only_a_promise_takes_the_flag_of_order_away() {
        let fold = || Over::<i64>::new().fold(0i64, |sum, n| *sum += n, |sum, other| *sum += other);
        assert!(fold().order_dependent());
        assert!(!fold().commutes().order_dependent());
    }
}
