use std::time::Duration;

use super::Pace;

#[test]
fn it_is_due_when_the_gap_is_over_and_not_before() {
    let mut pace = Pace::new(Duration::from_nanos(10));
    pace.polled(100);
    assert!(!pace.due(109));
    assert!(pace.due(110));
    pace.polled(115);
    assert!(!pace.due(124));
    assert!(pace.due(125));
}

#[test]
fn without_a_gap_every_turn_polls() {
    let mut pace = Pace::new(Duration::ZERO);
    pace.polled(100);
    assert!(pace.due(100));
}

#[test]
fn a_gap_beyond_the_clock_never_ends() {
    let mut pace = Pace::new(Duration::MAX);
    assert!(pace.due(0));
    pace.polled(1);
    assert!(!pace.due(u64::MAX - 1));
}
