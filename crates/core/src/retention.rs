//! Which registered checkpoint is one too many. Pure.

/// A checkpoint, as far as keeping it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, not states")]
pub struct Kept {
    /// The operator registered it by itself: only such are ever deleted.
    pub own: bool,
    /// When it was last certified, unix seconds.
    pub certified: Option<i64>,
    /// It is a valid rollback target.
    pub usable: bool,
    /// Its images run.
    pub in_use: bool,
    /// An open incident names it.
    pub named: bool,
}

/// The checkpoint to delete: the oldest of the operator's own beyond the `keep` newest ones, but never one in use, one
/// that an open incident names, or the newest valid rollback target, from anywhere or from what runs now.
pub fn surplus(all: &[Kept], keep: usize) -> Option<usize> {
    let mut order: Vec<usize> = (0..all.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(all[*index].certified));
    let newest = |fits: &dyn Fn(&Kept) -> bool| order.iter().copied().find(|index| fits(&all[*index]));
    let last_good = [newest(&|kept| kept.usable), newest(&|kept| kept.usable && !kept.in_use)];
    order
        .iter()
        .copied()
        .filter(|index| all[*index].own)
        .skip(keep)
        .filter(|index| !all[*index].in_use && !all[*index].named && !last_good.contains(&Some(*index)))
        .last()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(certified: i64) -> Kept {
        Kept {
            own: true,
            certified: Some(certified),
            usable: true,
            in_use: false,
            named: false,
        }
    }

    #[test]
    fn the_oldest_beyond_the_limit_goes_first() {
        assert_eq!(surplus(&[kept(10), kept(30), kept(20), kept(40)], 2), Some(0));
        assert_eq!(surplus(&[kept(30), kept(20), kept(40)], 2), Some(1));
        assert_eq!(surplus(&[kept(30), kept(40)], 2), None);
        let never = Kept {
            certified: None,
            usable: false,
            ..kept(0)
        };
        assert_eq!(surplus(&[never, kept(30), kept(40)], 2), Some(0));
    }

    #[test]
    fn what_is_needed_stays_however_old_it_is() {
        let in_use = Kept {
            in_use: true,
            ..kept(10)
        };
        let named = Kept {
            named: true,
            ..kept(10)
        };
        let persons = Kept { own: false, ..kept(10) };
        for needed in [in_use, named, persons] {
            assert_eq!(surplus(&[needed, kept(30), kept(40)], 2), None, "{needed:?}");
        }
    }

    #[test]
    fn the_last_good_one_stays_when_all_newer_ones_are_broken() {
        let broken = |certified| Kept {
            usable: false,
            ..kept(certified)
        };
        assert_eq!(surplus(&[kept(10), broken(30), broken(40), broken(50)], 2), Some(1));
        assert_eq!(surplus(&[kept(10), broken(40), broken(50)], 2), None);
        // What runs is no place to go back to: the good one before it stays too.
        let runs = Kept {
            in_use: true,
            ..kept(60)
        };
        assert_eq!(surplus(&[kept(10), broken(40), broken(50), runs], 2), Some(1));
        assert_eq!(surplus(&[kept(10), broken(50), runs], 2), None);
    }
}
