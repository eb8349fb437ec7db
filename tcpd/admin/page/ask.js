// What the page tells people, asks them, and does for them.

import { $, say, style, visible } from "./draw.js";
import { askForTokenWith } from "./talk.js";

let toldAt = 0;
export function tell(text, kind = "") {
  const notice = $("notice");
  notice.hidden = !text;
  say(notice, visible(text));
  style(notice, `notice ${kind}`);
  const mine = (toldAt += 1);
  if (kind !== "bad") setTimeout(() => mine === toldAt && (notice.hidden = true), 8000);
}

export async function act(what, done = "") {
  try {
    const answer = await what();
    if (done) tell(done);
    return answer;
  } catch (error) {
    const more = error.body?.errors?.join("\n");
    tell([error.message, error.hint, more].filter(Boolean).join(". "), "bad");
    return null;
  }
}

export async function sure(words, verb) {
  say($("ask-what"), words);
  say($("ask-ok"), verb);
  return answered($("ask"));
}

function answered(dialog) {
  return new Promise((resolve) => {
    dialog.returnValue = "";
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "ok"), { once: true });
    dialog.showModal();
  });
}

let asking = null;
askForTokenWith((why) => {
  asking ??= (async () => {
    say($("token-why"), why);
    $("token").value = "";
    const ok = await answered($("ask-token"));
    return ok ? $("token").value.trim() : "";
  })().finally(() => {
    asking = null;
  });
  return asking;
});
$("token").addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return; // the first button of a form is what Enter presses
  event.preventDefault();
  $("token-ok").click();
});
