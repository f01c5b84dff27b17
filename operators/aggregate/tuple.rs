//! Several aggregates at once: a tuple of up to eight is one aggregate, and its answer is a tuple.

use super::{Aggregate, Logged, Stored, Upgrades};

macro_rules! tuples {
    ($($A:ident $i:tt),+) => {
        impl<T, $($A: Aggregate<T>),+> Aggregate<T> for ($($A,)+) {
            type Partial = ($($A::Partial,)+);
            type Output = ($($A::Output,)+);

            #[inline]
            fn init(&self) -> Self::Partial {
                ($(self.$i.init(),)+)
            }
            #[inline]
            fn add(&self, partial: &mut Self::Partial, record: &Logged<'_, T>) {
                $(self.$i.add(&mut partial.$i, record);)+
            }
            #[inline]
            fn merge(&self, partial: &mut Self::Partial, other: Self::Partial) {
                $(self.$i.merge(&mut partial.$i, other.$i);)+
            }
            #[inline]
            fn finish(&self, partial: Self::Partial) -> Self::Output {
                ($(self.$i.finish(partial.$i),)+)
            }
            fn needs_position(&self) -> bool {
                $(self.$i.needs_position())||+
            }
            fn order_dependent(&self) -> bool {
                $(self.$i.order_dependent())||+
            }
            fn upgrades<S: Stored>(&self) -> Upgrades {
                let mut upgrades = Upgrades::default();
                $({
                    let part = self.$i.upgrades::<S>();
                    upgrades.refused.extend(part.refused);
                    if !part.all.is_empty() {
                        upgrades.refused.push(format!(
                            "`upgrade_state` stands around {}, a part of a tuple: state is upgraded as a whole, so it belongs around the whole",
                            self.$i.describe()
                        ));
                    }
                })+
                upgrades
            }
            fn describe(&self) -> String {
                [$(self.$i.describe()),+].join(", ")
            }
        }
    };
}
tuples!(A 0);
tuples!(A 0, B 1);
tuples!(A 0, B 1, C 2);
tuples!(A 0, B 1, C 2, D 3);
tuples!(A 0, B 1, C 2, D 3, E 4);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);

#[cfg(test)]
mod tests {
    use super::super::{Aggregate, Over, trial};

    #[test]
    fn a_tuple_answers_what_its_parts_answer() {
        trial::agrees(
            || {
                let w = Over::<i64>::new();
                let (max, min, sum) = (w.max(|n| *n), w.min(|n| *n), w.sum(|n| *n));
                (w.count(), max, min, sum, w.mean(|n| *n), w.first(|n| *n), w.last(|n| *n), w.distinct(|n| *n))
            },
            |rows| {
                let values: Vec<i64> = rows.iter().map(|row| row.value).collect();
                let (count, sum) = (values.len() as u64, values.iter().sum::<i64>());
                let different: std::collections::HashSet<_> = values.iter().collect();
                let (max, min) = (*values.iter().max().unwrap(), *values.iter().min().unwrap());
                let (first, last) = (values[0], values[values.len() - 1]);
                (count, max, min, sum, sum as f64 / count as f64, first, last, different.len() as u64)
            },
        );
    }

    #[test]
    fn one_part_that_needs_something_makes_the_whole_need_it() {
        let w = Over::<i64>::new();
        assert!(!(w.count(), w.max(|n| *n)).needs_position());
        assert!((w.count(), w.last(|n| *n)).needs_position());
        assert!((w.fold((), |_, _| (), |_, _| ()), w.count()).order_dependent());
        assert_eq!((w.count(), w.max(|n| *n)).describe(), "count, max");
    }
}
