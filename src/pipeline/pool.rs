//! A thread pool that takes numbered pieces of work from several jobs round-robin, so a small job does not
//! wait behind a large one.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Work in numbered pieces.
pub trait Job: Send + Sync + 'static {
    /// What a thread reuses for all pieces of work, of any job.
    type Scratch: Default;

    /// Claims the next piece, if there is one and the job's limits allow it.
    fn take(&self) -> Option<usize>;

    /// Does a claimed piece of work. Must not panic.
    fn work(self: &Arc<Self>, number: usize, scratch: &mut Self::Scratch);
}

/// The threads. Dropping this stops them.
pub struct Threads<J: Job> {
    queue: Arc<Queue<J>>,
    threads: Vec<JoinHandle<()>>,
}

/// The jobs that have work.
pub struct Queue<J> {
    state: Mutex<State<J>>,
    /// Signalled when a job is added, a job has room again, or the pool closes.
    work: Condvar,
    /// Signalled when a thread has finished a piece of work.
    idle: Condvar,
}

struct State<J> {
    jobs: VecDeque<Arc<J>>,
    /// The jobs being worked on, once per thread.
    running: Vec<Arc<J>>,
    closed: bool,
}

impl<J: Job> Threads<J> {
    /// Starts `count` threads, but at least one.
    pub fn start(count: usize) -> io::Result<Threads<J>> {
        let state = State { jobs: VecDeque::new(), running: Vec::new(), closed: false };
        let queue = Arc::new(Queue { state: Mutex::new(state), work: Condvar::new(), idle: Condvar::new() });
        let mut threads = Threads { queue: queue.clone(), threads: Vec::with_capacity(count) };
        for number in 0..count.max(1) {
            let queue = queue.clone();
            let thread = std::thread::Builder::new().name(format!("chunks-{number}"));
            threads.threads.push(thread.spawn(move || queue.serve())?);
        }
        Ok(threads)
    }

    /// The number of threads.
    pub fn count(&self) -> usize {
        self.threads.len()
    }

    /// The queue of jobs.
    pub fn queue(&self) -> &Arc<Queue<J>> {
        &self.queue
    }
}

impl<J: Job> Drop for Threads<J> {
    fn drop(&mut self) {
        lock(&self.queue.state).closed = true;
        self.queue.work.notify_all();
        for thread in self.threads.drain(..) {
            // A panic has already been reported.
            let _ = thread.join();
        }
    }
}

impl<J: Job> Queue<J> {
    /// Adds a job.
    pub fn add(&self, job: Arc<J>) {
        lock(&self.state).jobs.push_back(job);
        self.work.notify_all();
    }

    /// Removes `job` from the queue and waits until no thread works on it.
    pub fn remove(&self, job: &Arc<J>) {
        let mut state = lock(&self.state);
        state.jobs.retain(|other| !Arc::ptr_eq(other, job));
        while state.running.iter().any(|other| Arc::ptr_eq(other, job)) {
            state = self.idle.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Wakes a thread because a job has room again.
    pub fn has_room(&self) {
        // Prevents a lost wakeup: no thread is between finding no work and waiting.
        drop(lock(&self.state));
        self.work.notify_one();
    }

    /// Wakes all threads because a job may have several pieces of work.
    pub fn has_work(&self) {
        drop(lock(&self.state));
        self.work.notify_all();
    }

    /// The main loop of a thread.
    fn serve(&self) {
        let mut scratch = J::Scratch::default();
        while let Some((job, number)) = self.next() {
            job.work(number, &mut scratch);
            self.done(&job);
        }
    }

    /// The next piece of work, round-robin over the jobs; `None` when the pool closes.
    fn next(&self) -> Option<(Arc<J>, usize)> {
        let mut state = lock(&self.state);
        loop {
            if state.closed {
                return None;
            }
            for _ in 0..state.jobs.len() {
                state.jobs.rotate_left(1);
                let job = state.jobs.back()?.clone();
                if let Some(number) = job.take() {
                    state.running.push(job.clone());
                    return Some((job, number));
                }
            }
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Records that a thread has finished a piece of work.
    fn done(&self, job: &Arc<J>) {
        let mut state = lock(&self.state);
        if let Some(index) = state.running.iter().position(|other| Arc::ptr_eq(other, job)) {
            state.running.swap_remove(index);
        }
        self.idle.notify_all();
    }
}

/// Locks a mutex whose data is consistent even after a panic, because no code that holds it calls foreign
/// code.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// A job whose pieces send a message when they begin, and end on request.
    struct Pieces {
        name: char,
        next: AtomicUsize,
        count: usize,
        begun: Mutex<Sender<(char, usize)>>,
        may_end: Mutex<Receiver<()>>,
    }

    impl Job for Pieces {
        type Scratch = ();

        fn take(&self) -> Option<usize> {
            let number = self.next.fetch_add(1, Ordering::SeqCst);
            (number < self.count).then_some(number)
        }

        fn work(self: &Arc<Self>, number: usize, (): &mut ()) {
            lock(&self.begun).send((self.name, number)).unwrap();
            // The sender is dropped at the end of the test.
            let _ = lock(&self.may_end).recv();
        }
    }

    fn job(name: char, count: usize, begun: &Sender<(char, usize)>) -> (Arc<Pieces>, Sender<()>) {
        let (end, may_end) = channel();
        let (begun, may_end) = (Mutex::new(begun.clone()), Mutex::new(may_end));
        (Arc::new(Pieces { name, next: AtomicUsize::new(0), count, begun, may_end }), end)
    }

    #[test]
    fn jobs_take_turns() {
        let threads = Threads::start(1).unwrap();
        let (begun, order) = channel();
        let ((long, end_long), (short, end_short)) = (job('a', 3, &begun), job('b', 2, &begun));
        threads.queue().add(long);
        // The second job is added while the first piece is in progress.
        assert_eq!(order.recv().unwrap(), ('a', 0));
        threads.queue().add(short);
        (0..3).for_each(|_| end_long.send(()).unwrap());
        (0..2).for_each(|_| end_short.send(()).unwrap());
        let mut later: Vec<_> = (0..4).map(|_| order.recv().unwrap()).collect();
        let first_of_short = later.iter().position(|piece| *piece == ('b', 0)).unwrap();
        assert!(first_of_short <= 1, "{later:?}");
        later.sort();
        assert_eq!(later, [('a', 1), ('a', 2), ('b', 0), ('b', 1)]);
    }

    #[test]
    fn a_removed_job_has_no_thread() {
        let threads = Threads::start(2).unwrap();
        let (begun, order) = channel();
        let (job, end) = job('a', 100, &begun);
        threads.queue().add(job.clone());
        order.recv().unwrap();
        let queue = threads.queue().clone();
        let removal = std::thread::spawn({
            let job = job.clone();
            move || queue.remove(&job)
        });
        // The removal waits for the piece in progress; the others are never begun.
        drop(end);
        removal.join().unwrap();
        assert!(lock(&threads.queue().state).running.is_empty());
        let taken = job.next.load(Ordering::SeqCst);
        std::thread::yield_now();
        assert_eq!(job.next.load(Ordering::SeqCst), taken);
    }

    #[test]
    fn a_pool_without_work_closes() {
        let threads = Threads::<Pieces>::start(0).unwrap();
        assert_eq!(threads.count(), 1);
        drop(threads);
    }
}
