//! No attack: what the honest clients see when all processors are busy with something that has nothing to do with the broker.

use std::hint::black_box;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;

use super::super::field::Field;

/// Computes on as many threads as there are processors until the attack would be over.
pub(super) async fn busy_threads(field: Rc<Field>) {
    let count = thread::available_parallelism().map_or(1, usize::from);
    let threads: Vec<_> = (0..count)
        .map(|_| {
            let progress = Arc::clone(&field.progress);
            thread::spawn(move || {
                let mut sum = 0_u64;
                while !progress.is_over() {
                    sum = (0..100_000).fold(sum, |sum, term| black_box(sum.wrapping_add(term)));
                }
            })
        })
        .collect();
    field.under_way();
    field.until_over().await;
    for thread in threads {
        thread.join().expect("adding does not panic");
    }
}
