/// <reference types="vite/client" />
/** The page on this device: a service worker that keeps it, so that it opens without its server. Built by scripts/build.mjs. */

/** In what is built only: while developing there is none. Resolves when it is registered, or needs not be. */
export async function keepPageOnDevice(): Promise<void> {
  // Without one (private windows, plain http) the page works as long as it stays open.
  if (!import.meta.env.PROD || !('serviceWorker' in navigator)) return
  await navigator.serviceWorker.register(`${import.meta.env.BASE_URL}sw.js`)
}
