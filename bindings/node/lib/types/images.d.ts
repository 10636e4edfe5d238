// The images of a home.

import type { CallOptions, StartOptions } from './calls.js';

/** An image in the home's store at one moment. */
export interface Image {
    /** In full, such as "docker.io/library/alpine:latest". */
    reference: string;
    /** The reference without tag and digest. */
    repository: string;
    /** null when it was pulled by digest alone */
    tag: string | null;
    /** Of its manifest for this machine: what it is, whatever it is called. */
    digest: string;
    configDigest: string;
    /** Digests, the lowest first. */
    layers: string[];
    /** Of config and layers as stored, without the disk that is made of them. */
    sizeBytes: number;
    storedAt: Date;
}

export interface PruneReport {
    items: {
        /**
         * image: named by its reference, with the blobs and the disk that only it needs; disk: of a directory, or of an
         * image that is gone, named by its file; blob: of no image, or never fetched whole, named by its file.
         */
        kind: 'image' | 'disk' | 'blob' | 'unknown';
        name: string;
        bytes: number;
    }[];
    totalBytes: number;
}

/** The images of a runtime's home. */
export interface Images {
    /**
     * Asks the image's source what it is now, and fetches what the store lacks; boxes that were started keep what they
     * have. An aborted pull leaves others that wait for the image to go on, and keeps what was fetched.
     */
    pull(reference: string, options?: StartOptions): Promise<Image>;
    /** By its reference, its digest or that of its config, without asking its source. */
    get(reference: string, options?: CallOptions): Promise<Image>;
    /** The one stored last first. */
    list(options?: CallOptions): Promise<Image[]>;
    /**
     * With all that no other image needs. One that boxes of the home were started from is BOXLITE_INVALID_STATE, unless
     * `force` is set: their next start pulls it again.
     */
    remove(reference: string, options?: CallOptions & { force?: boolean }): Promise<void>;
    /**
     * Deletes what no box of the home needs: images, disks, what interrupted pulls left. A box needs its image from its
     * creation on. With `dryRun` nothing is deleted. Homes that share one store are not asked.
     */
    prune(options?: CallOptions & { dryRun?: boolean }): Promise<PruneReport>;
}
