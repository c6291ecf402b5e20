getent group mcsup >/dev/null || groupadd --system mcsup
if [ -d /run/systemd/system ]; then
    systemctl --system daemon-reload >/dev/null || :
fi
if [ "$1" -eq 1 ]; then
    echo "mcsup: put unit files into /etc/mcsup/units, then: systemctl enable --now mcsup"
elif [ -S /run/mcsup/mcsup.sock ]; then
    # An upgrade stops and restarts nothing: what runs replaces itself, and its services do not notice.
    /usr/bin/mcsup reexec ||
        echo "mcsup: the running mcsup stays at its version, and its services run on; 'mcsup reexec' tries again" >&2
fi
