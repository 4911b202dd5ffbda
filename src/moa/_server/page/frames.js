// Draws at most once a frame, however many events arrive in between.

/**
 * Return `{request, follow}`: `request()` draws in the next frame; `follow(busy)` goes on drawing, frame by frame, for
 * as long as `busy()` says so.
 *
 * @param {() => void} draw
 */
export function frames(draw) {
  let pending = false;
  let busy = () => false;
  const tick = () => {
    pending = false;
    draw();
    if (busy()) request();
  };
  function request() {
    if (pending) return;
    pending = true;
    requestAnimationFrame(tick);
  }
  function follow(condition) {
    busy = condition;
    request();
  }
  return { request, follow };
}
