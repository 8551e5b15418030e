//! Puts the results of parallel work in order.

use std::collections::BTreeMap;
use std::ops::Range;

/// Calls `each` with the values of `numbers` in order. `next` may return them in any order.
pub fn in_order<T, E>(
    numbers: Range<usize>,
    mut next: impl FnMut() -> Result<(usize, T), E>,
    mut each: impl FnMut(usize, T) -> Result<(), E>,
) -> Result<(), E> {
    let mut early = BTreeMap::new();
    for wanted in numbers {
        let value = loop {
            if let Some(value) = early.remove(&wanted) {
                break value;
            }
            let (number, value) = next()?;
            early.insert(number, value);
        };
        each(wanted, value)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values passed to `each` when these numbers arrive, and the result.
    fn ordered(numbers: Range<usize>, arriving: &[usize]) -> (Vec<usize>, Result<(), &'static str>) {
        let (mut arriving, mut seen) = (arriving.iter(), Vec::new());
        let result = in_order(
            numbers,
            || arriving.next().map(|number| (*number, number * 10)).ok_or("ended"),
            |number, value| {
                assert_eq!(value, number * 10);
                seen.push(number);
                Ok(())
            },
        );
        (seen, result)
    }

    #[test]
    fn values_come_in_order() {
        assert_eq!(ordered(2..6, &[4, 2, 5, 3]), (vec![2, 3, 4, 5], Ok(())));
        assert_eq!(ordered(3..3, &[]), (vec![], Ok(())));
    }

    #[test]
    fn a_missing_value_is_an_error_after_the_values_before_it() {
        assert_eq!(ordered(0..4, &[1, 0, 3]), (vec![0, 1], Err("ended")));
    }
}
