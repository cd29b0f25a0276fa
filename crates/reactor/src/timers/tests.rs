use std::collections::BTreeMap;
use std::rc::Rc;

use proptest::collection::vec;
use proptest::prelude::*;

use super::{SWEEP_FROM, TimerKey, TimerQueue};

#[derive(Clone, Debug)]
enum Operation {
    Insert(u64),
    /// Of any timer that ever was, counted from the latest.
    Cancel(usize),
    PopDue(u64),
    NextDeadline,
    TakeAll,
}

fn deadline() -> impl Strategy<Value = u64> {
    // Few different ones, for many equal ones; and the ends of the range.
    prop_oneof![9 => 0..20_u64, 1 => Just(u64::MAX), 5 => any::<u64>()]
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    // A run of many inserts and then many cancellations takes the queue through sweeps.
    let step = prop_oneof![
        200 => deadline().prop_map(|deadline| vec![Operation::Insert(deadline)]),
        200 => (0..40_usize).prop_map(|back| vec![Operation::Cancel(back)]),
        60 => deadline().prop_map(|now| vec![Operation::PopDue(now)]),
        40 => Just(vec![Operation::NextDeadline]),
        1 => Just(vec![Operation::TakeAll]),
        8 => vec(deadline().prop_map(Operation::Insert), 100..200),
        8 => vec((0..400_usize).prop_map(Operation::Cancel), 200..400),
    ];
    vec(step, 0..60).prop_map(|steps| steps.concat())
}

/// What a queue of timers ought to do, in the plainest way: a sorted map, its keys the deadline and
/// the place in the order of insertion.
#[derive(Default)]
struct Model {
    pending: BTreeMap<(u64, usize), usize>,
    issued: Vec<(TimerKey, (u64, usize))>,
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(400)
    })]

    #[test]
    fn it_does_what_a_sorted_map_does(operations in operations()) {
        let mut timers = TimerQueue::new();
        let mut model = Model::default();
        for operation in operations {
            match operation {
                Operation::Insert(deadline) => {
                    let number = model.issued.len();
                    let key = timers.insert(deadline, number);
                    model.issued.push((key, (deadline, number)));
                    model.pending.insert((deadline, number), number);
                }
                Operation::Cancel(back) => {
                    let Some(index) = model.issued.len().checked_sub(back + 1) else {
                        continue;
                    };
                    let (key, place) = model.issued[index];
                    prop_assert_eq!(timers.cancel(key), model.pending.remove(&place));
                }
                Operation::PopDue(now) => {
                    let due = model.pending.first_entry().filter(|first| first.key().0 <= now);
                    prop_assert_eq!(timers.pop_due(now), due.map(|first| first.remove()));
                }
                Operation::NextDeadline => {
                    let next = model.pending.first_key_value().map(|(place, _)| place.0);
                    prop_assert_eq!(timers.next_deadline(), next);
                }
                Operation::TakeAll => {
                    let all: Vec<_> = std::mem::take(&mut model.pending).into_values().collect();
                    prop_assert_eq!(timers.take_all(), all);
                }
            }
            prop_assert_eq!(timers.len(), model.pending.len());
            prop_assert_eq!(timers.is_empty(), model.pending.is_empty());
            prop_assert!(timers.heap.len() <= 2 * timers.len() + SWEEP_FROM);
        }
        let mut values: Vec<_> = timers.values().copied().collect();
        values.sort_unstable();
        let mut expected: Vec<_> = model.pending.values().copied().collect();
        expected.sort_unstable();
        prop_assert_eq!(values, expected);
        for (_, value) in model.pending {
            prop_assert_eq!(timers.pop_due(u64::MAX), Some(value));
        }
        prop_assert_eq!(timers.pop_due(u64::MAX), None);
    }
}

#[test]
fn equal_deadlines_keep_their_order_through_a_sweep() {
    let mut timers = TimerQueue::new();
    let keys: Vec<_> = (0..1000).map(|value| timers.insert(5, value)).collect();
    // All but every fifth, from the front: far more than half.
    for (index, &key) in keys.iter().enumerate().filter(|(index, _)| index % 5 != 0) {
        assert_eq!(timers.cancel(key), Some(index));
    }
    assert!(timers.heap.len() < 500, "it was swept");
    let order: Vec<_> = std::iter::from_fn(|| timers.pop_due(5)).collect();
    assert!(order.into_iter().eq((0..1000).step_by(5)));
}

#[test]
fn a_timeout_cancelled_at_once_leaves_nothing_behind() {
    let mut timers = TimerQueue::new();
    timers.insert(1, 0);
    for number in 0..1000 {
        let key = timers.insert(1_000_000 + number, number);
        timers.cancel(key);
        assert_eq!(timers.heap.len(), 1);
    }
    assert_eq!(timers.slots.len(), 2);
}

#[test]
fn cancelling_hands_the_value_back_at_once() {
    let value = Rc::new(());
    let mut timers = TimerQueue::new();
    timers.insert(1, value.clone());
    let key = timers.insert(2, value.clone());
    timers.insert(3, value.clone());
    drop(timers.cancel(key));
    assert_eq!(Rc::strong_count(&value), 3, "the queue has kept two");
}

#[test]
fn a_key_of_a_timer_that_came_due_names_nothing() {
    let mut timers = TimerQueue::new();
    let old = timers.insert(1, 'a');
    assert_eq!(timers.pop_due(1), Some('a'));
    let new = timers.insert(1, 'b');
    assert_eq!(old.slot, new.slot, "the slot is used again");
    assert_eq!(timers.cancel(old), None);
    assert_eq!(timers.cancel(new), Some('b'));
}

#[test]
fn a_slot_whose_generations_are_used_up_stays_out_of_use() {
    let mut timers = TimerQueue::new();
    timers.insert(1, 'a');
    timers.pop_due(1);
    timers.slots[0].generation = std::num::NonZeroU32::MAX;
    let last = timers.insert(1, 'b');
    assert_eq!(timers.cancel(last), Some('b'));

    let other = timers.insert(1, 'c');
    assert_ne!(last.slot, other.slot);
    assert_eq!(timers.cancel(last), None);
    assert_eq!(timers.take_all(), ['c']);
}

#[test]
fn the_queue_is_of_use_after_everything_was_taken_out() {
    let mut timers = TimerQueue::new();
    let old = timers.insert(1, 'a');
    assert_eq!(timers.take_all(), ['a']);
    assert_eq!(timers.next_deadline(), None);
    timers.insert(2, 'b');
    assert_eq!(timers.cancel(old), None);
    assert_eq!(timers.pop_due(2), Some('b'));
}

#[test]
fn a_key_is_eight_bytes_even_when_there_may_be_none() {
    assert_eq!(size_of::<TimerKey>(), 8);
    assert_eq!(size_of::<Option<TimerKey>>(), 8);
}
