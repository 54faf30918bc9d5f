/** The prebuilt file needs no shims for Node's globals; its types are those of the package. */
declare module 'simple-peer/simplepeer.min.js' {
  import SimplePeer from 'simple-peer'
  export default SimplePeer
}
