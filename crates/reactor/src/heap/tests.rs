use proptest::collection::vec;
use proptest::prelude::*;

use super::{Entry, Heap};
use crate::TimerQueue;

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(500)
    })]

    #[test]
    fn what_a_sweep_leaves_comes_out_in_order(
        deadlines in vec((0..1000_u64, any::<bool>()), 0..100),
        trim in any::<bool>(),
    ) {
        let mut keys = TimerQueue::new();
        let mut heap = Heap::new();
        let mut kept = Vec::new();
        for (sequence, &(deadline, keep)) in (0..).zip(&deadlines) {
            let key = keys.insert(0, ());
            heap.push(Entry { deadline, sequence, key });
            if keep {
                kept.push((deadline, sequence, key));
            }
        }
        let live = |key| kept.iter().any(|entry| entry.2 == key);
        if trim {
            heap.trim(live);
        }
        heap.retain(live);
        prop_assert_eq!(heap.len(), kept.len());

        kept.sort_by_key(|&(deadline, sequence, _)| (deadline, sequence));
        for (deadline, sequence, _) in kept {
            prop_assert_eq!(heap.pop().map(|entry| entry.order()), Some((deadline, sequence)));
        }
        prop_assert!(heap.pop().is_none());
    }
}
