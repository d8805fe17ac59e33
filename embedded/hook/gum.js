// Runs inside the target: gives the hook library (backend.c) gum's interceptor. The handlers stay native code.
const bridge = Module.getGlobalExportByName('eb_gum_bridge');
const FIELD = { ready: 0, attach: 8, detach: 16, enter: 24, leave: 32, error: 40 };
const ERROR_SIZE = 256;

const native = new CModule(`
#include <gum/guminterceptor.h>

extern void enter (void * site, GumCpuContext * cpu);
extern void leave (void * site, GumCpuContext * cpu);

void on_enter (GumInvocationContext * ic)
{
	enter (gum_invocation_context_get_listener_function_data (ic), ic->cpu_context);
}

void on_leave (GumInvocationContext * ic)
{
	leave (gum_invocation_context_get_listener_function_data (ic), ic->cpu_context);
}
`, { enter: bridge.add(FIELD.enter).readPointer(), leave: bridge.add(FIELD.leave).readPointer() });

const listeners = new Map();

const attach = new NativeCallback((address, site, wants) => {
	try {
		const callbacks = {};
		if (wants & 1)
			callbacks.onEnter = native.on_enter;
		if (wants & 2)
			callbacks.onLeave = native.on_leave;
		listeners.set(site.toString(), Interceptor.attach(address, callbacks, site));
		Interceptor.flush();
		return 0;
	} catch (error) {
		bridge.add(FIELD.error).writeUtf8String(error.message.substring(0, 80));
		return -1;
	}
}, 'int', ['pointer', 'pointer', 'int']);

const detach = new NativeCallback(site => {
	const listener = listeners.get(site.toString());
	if (listener !== undefined) {
		listener.detach();
		Interceptor.flush();
		listeners.delete(site.toString());
	}
}, 'void', ['pointer']);

bridge.add(FIELD.attach).writePointer(attach);
bridge.add(FIELD.detach).writePointer(detach);
bridge.add(FIELD.ready).writeU32(1);
globalThis.kept = [native, attach, detach];
