// Figures of a runtime and of a box.

/** Figures that end in Total never decrease. Later versions may have more. */
export interface RuntimeMetrics {
    boxesCreatedTotal: number;
    /** Starts that failed. */
    boxesFailedTotal: number;
    boxesStoppedTotal: number;
    /** Those that the runtime started or has taken up. */
    boxesRunning: number;
    commandsTotal: number;
    /** Commands that could not be started. */
    commandErrorsTotal: number;
    startsBootedTotal: number;
    startsClonedTotal: number;
    templatesMadeTotal: number;
    templatesRefusedTotal: number;
    [later: string]: number | undefined;
}

/** What is not known of a box is missing. Later versions may have more. */
export interface BoxMetrics {
    /** Through this runtime, since the box was started or taken up. */
    commandsTotal: number;
    commandErrorsTotal: number;
    /** Of the host. */
    cpuMsTotal: number;
    memoryBytes?: number;
    diskBytes: number;
    guestProcesses: number;
    guestMemoryUsedBytes: number;
    guestMemoryTotalBytes: number;
    /** Of the box's start, image and all, when this runtime made it. */
    startMs?: number;
    bootMs?: number;
    [later: string]: number | undefined;
}
