/* What FreeRTOS's kernel is told about this guest; every name is the kernel's own. */
#ifndef FREERTOS_CONFIG_H
#define FREERTOS_CONFIG_H

/* Preemption by priority; tasks of one priority share the CPU tick by tick. */
#define configUSE_PREEMPTION                     1
#define configUSE_TIME_SLICING                   1
#define configMAX_PRIORITIES                     8
#define configTICK_RATE_HZ                       1000
#define configTICK_TYPE_WIDTH_IN_BITS            TICK_TYPE_WIDTH_64_BITS
#define configUSE_IDLE_HOOK                      0
#define configUSE_TICK_HOOK                      0

/* Stacks in words of 8 bytes. */
#define configMINIMAL_STACK_SIZE                 1024
#define configTOTAL_HEAP_SIZE                    ( 512 * 1024 )
#define configSTACK_DEPTH_TYPE                   size_t

/* Mutexes lend their owner the priority of who waits. */
#define configUSE_MUTEXES                        1
#define INCLUDE_vTaskDelay                       1
#define INCLUDE_vTaskDelete                      1
#define INCLUDE_xTaskDelayUntil                  1

/* Every task has its own FP registers: Rust code uses them. */
#define configUSE_TASK_FPU_SUPPORT               2

/* Five bits of priority, as on QEMU's GICv3. Critical sections mask from 18 on (0x90), the tick has the
   lowest but one (0xf0); what is more urgent is never masked and must not call the kernel. */
#define configUNIQUE_INTERRUPT_PRIORITIES        32
#define configMAX_API_CALL_INTERRUPT_PRIORITY    18

void guest_start_tick( void );
void guest_next_tick( void );
void guest_assertion_failed( const char * file, int line );
#define configSETUP_TICK_INTERRUPT()             guest_start_tick()
#define configCLEAR_TICK_INTERRUPT()             guest_next_tick()
#define configASSERT( condition ) \
    if( !( condition ) ) guest_assertion_failed( __FILE__, __LINE__ )

#endif
