//! FreeRTOS's functions, as this guest calls them. The names and types are those of its headers for this port,
//! where `BaseType_t`, `UBaseType_t` and `TickType_t` have 64 bits.

use core::ffi::{c_char, c_void};
use core::ptr::null_mut;

/// Waits for ever.
pub const FOREVER: u64 = u64::MAX;
/// `configTICK_RATE_HZ`.
pub const TICKS_PER_SECOND: u64 = 1000;
const PASS: i64 = 1;
/// Words of 8 bytes.
const STACK: usize = 2048;
const TYPE_QUEUE: u8 = 0;
const TYPE_MUTEX: u8 = 1;
const SEND_TO_BACK: i64 = 0;

#[link(name = "freertos", kind = "static")]
unsafe extern "C" {
    fn xTaskCreate(
        code: extern "C" fn(*mut c_void),
        name: *const c_char,
        words: usize,
        parameter: *mut c_void,
        priority: u64,
        handle: *mut *mut c_void,
    ) -> i64;
    fn vTaskStartScheduler();
    fn vTaskDelete(task: *mut c_void);
    fn vTaskDelay(ticks: u64);
    fn xTaskDelayUntil(previous: *mut u64, ticks: u64) -> i64;
    fn xTaskGetTickCount() -> u64;
    fn xQueueGenericCreate(length: u64, size: u64, kind: u8) -> *mut c_void;
    fn xQueueCreateMutex(kind: u8) -> *mut c_void;
    fn xQueueGenericSend(queue: *mut c_void, item: *const c_void, ticks: u64, position: i64) -> i64;
    fn xQueueGenericSendFromISR(queue: *mut c_void, item: *const c_void, woken: *mut i64, position: i64) -> i64;
    fn xQueueReceive(queue: *mut c_void, item: *mut c_void, ticks: u64) -> i64;
    fn xQueueSemaphoreTake(queue: *mut c_void, ticks: u64) -> i64;
    fn vPortEnterCritical();
    fn vPortExitCritical();
    fn FreeRTOS_Tick_Handler();
    static mut ullPortYieldRequired: u64;
}

/// Creates a task that gets `parameter`; the larger `priority` goes first.
pub fn create(code: extern "C" fn(*mut c_void), name: &core::ffi::CStr, priority: u64, parameter: usize) {
    // SAFETY: the kernel copies the name, allocates the stack, and hands the parameter on as a number.
    let result = unsafe { xTaskCreate(code, name.as_ptr(), STACK, parameter as *mut c_void, priority, null_mut()) };
    assert_eq!(result, PASS, "no memory for a task");
}

/// Starts the scheduler, which never comes back.
pub fn run() -> ! {
    // SAFETY: vectors, interrupt controller and at least one task are there.
    unsafe { vTaskStartScheduler() };
    panic!("the scheduler came back");
}

/// Ends the task that calls.
pub fn end_task() -> ! {
    // SAFETY: null is the task that calls; nothing of it is used afterwards.
    unsafe { vTaskDelete(null_mut()) };
    unreachable!("a task runs after its end");
}

/// Sleeps for `ticks` from now.
pub fn delay(ticks: u64) {
    // SAFETY: called from tasks only.
    unsafe { vTaskDelay(ticks) }
}

/// Sleeps until `ticks` after `previous`, which becomes that tick. False if that was in the past.
pub fn delay_until(previous: &mut u64, ticks: u64) -> bool {
    // SAFETY: the kernel reads and writes that number before it returns.
    unsafe { xTaskDelayUntil(previous, ticks) == PASS }
}

/// Ticks since the scheduler started.
pub fn ticks() -> u64 {
    // SAFETY: reads one word.
    unsafe { xTaskGetTickCount() }
}

/// What the port's tick interrupt calls.
pub fn tick() {
    // SAFETY: called by the handler of the tick's interrupt only.
    unsafe { FreeRTOS_Tick_Handler() }
}

/// Runs `section` with all interrupts masked that may call the kernel.
pub fn critical<T>(section: impl FnOnce() -> T) -> T {
    // SAFETY: left again below.
    unsafe { vPortEnterCritical() };
    let result = section();
    // SAFETY: entered above.
    unsafe { vPortExitCritical() };
    result
}

/// A queue of numbers.
#[derive(Clone, Copy)]
pub struct Queue(*mut c_void);

// SAFETY: the kernel's queues are for every task and handler.
unsafe impl Sync for Queue {}
// SAFETY: as above.
unsafe impl Send for Queue {}

impl Queue {
    /// A queue that holds `length` numbers.
    pub fn new(length: u64) -> Self {
        // SAFETY: allocates.
        let queue = unsafe { xQueueGenericCreate(length, size_of::<u64>() as u64, TYPE_QUEUE) };
        assert!(!queue.is_null(), "no memory for a queue");
        Self(queue)
    }

    /// The queue as the number that a task or a handler gets.
    pub fn raw(self) -> usize {
        self.0 as usize
    }

    /// The queue of [`Queue::raw`].
    pub fn from_raw(raw: usize) -> Self {
        Self(raw as *mut c_void)
    }

    /// Sends from a handler; the task that this wakes runs when the handler is left. False if it is full.
    pub fn send_from_handler(self, number: u64) -> bool {
        let mut woken = 0;
        // SAFETY: the kernel copies the number, and writes `woken` before it returns.
        let result = unsafe { xQueueGenericSendFromISR(self.0, (&raw const number).cast(), &mut woken, SEND_TO_BACK) };
        if woken != 0 {
            // SAFETY: what the port's portYIELD_FROM_ISR does; this handler is not interrupted by one that does it too.
            unsafe { ullPortYieldRequired = 1 };
        }
        result == PASS
    }

    /// Waits for a number.
    pub fn receive(self) -> u64 {
        let mut number = 0;
        // SAFETY: the kernel writes the number before it returns.
        let result = unsafe { xQueueReceive(self.0, (&raw mut number).cast(), FOREVER) };
        assert_eq!(result, PASS, "a wait without an end has ended");
        number
    }
}

/// A mutex that lends priorities.
#[derive(Clone, Copy)]
pub struct Mutex(*mut c_void);

impl Mutex {
    /// A free one.
    pub fn new() -> Self {
        // SAFETY: allocates.
        let mutex = unsafe { xQueueCreateMutex(TYPE_MUTEX) };
        assert!(!mutex.is_null(), "no memory for a mutex");
        Self(mutex)
    }

    /// The mutex as the number that a task gets.
    pub fn raw(self) -> usize {
        self.0 as usize
    }

    /// The mutex of [`Mutex::raw`].
    pub fn from_raw(raw: usize) -> Self {
        Self(raw as *mut c_void)
    }

    /// Runs `section` as its owner.
    pub fn hold(self, section: impl FnOnce()) {
        // SAFETY: given back below, by the same task.
        assert_eq!(unsafe { xQueueSemaphoreTake(self.0, FOREVER) }, PASS, "a wait without an end has ended");
        section();
        // SAFETY: taken above.
        unsafe { xQueueGenericSend(self.0, core::ptr::null(), 0, SEND_TO_BACK) };
    }
}
